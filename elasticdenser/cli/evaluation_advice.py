"""Advice on the command that measures a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from elasticdenser.cli.output import note
from elasticdenser.errors import BadInputError

_MEASURES = ("nDCG@10", "RR@10", "R@100")


def advise_evaluation(
    dataset: str,
    runs: Sequence[Path],
    *,
    split: str | None = None,
    download: bool = False,
    index: Path | None = None,
) -> None:
    """Tell the command that measures runs, as far as their queries come with judgements or answers.

    Args:
        dataset: Source of the queries.
        runs: The runs; the first one is the baseline.
        split: Split of the queries.
        download: Whether files may be downloaded.
        index: Index in whose texts answers can be looked for.
    """
    from elasticdenser.datasets import load_answers
    from elasticdenser.datasets.qrels import has_qrels

    more = [*(["--split", split] if split else []), *(["--download"] if download else [])]
    if has_qrels(dataset, split=split):
        note(f"now try:  {_command(dataset, *runs, *_MEASURES, *more)}")
        return
    if index is not None:
        with suppress(BadInputError):
            load_answers(dataset, split=split)
            note(f"now try:  {_command(dataset, *runs, '--answers-in', index, *more)}")
            return
    note(f"{dataset} holds no judgements; with a file of them:  {_command('QRELS', *runs, *_MEASURES)}")


def _command(*arguments: str | Path) -> str:
    return shlex.join(["elasticdenser", "evaluate", *map(str, arguments)])
