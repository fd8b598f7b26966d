"""Report of a suite of intents: a table of systems by tasks, and one of all figures for each task."""

from __future__ import annotations

import json
from collections.abc import Iterator

from elasticdenser.evaluation.intent_results import PUBLISHED, IntentCell, IntentResults
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Block, Column, Commands, Details, Entry, Heading, Paragraph, Table


def intent_blocks(results: IntentResults) -> list[Block]:
    """Return the blocks of the report."""
    return [
        Heading(level=1, text=text.plain(results.title)),
        *_opening(results),
        Heading(level=2, text="At a glance"),
        overview_table(results),
        *_tasks(results),
        Heading(level=2, text="Published figures"),
        Paragraph(sentences=((_published(),),)),
        *_provenance(results),
    ]


def overview_table(results: IntentResults) -> Table:
    """Return the table of systems by tasks: scores, in per cent, with the share of the teacher below them."""
    rows = []
    for system in results.systems:
        entries = [Entry(text=text.plain(system))]
        for task in results.evaluated_tasks:
            cell = results.cell(system, task)
            entries.append(Entry(text=text.MISSING) if cell is None else _score_entry(results, cell))
        rows.append(tuple(entries))
    columns = (Column(title="System", is_number=False), *(Column(title=task) for task in results.evaluated_tasks))
    return Table(columns=columns, rows=tuple(rows))


def task_table(results: IntentResults, task: str) -> Table:
    """Return the table of all figures on a task, a row for each system."""
    cells = [cell for cell in results.cells if cell.task == task]
    names = list(dict.fromkeys(name for cell in cells for name in cell.measures))
    rows = []
    for cell in cells:
        share = results.share_of_teacher(cell)
        values = (
            cell.system,
            *(_per_cent(cell.measures.get(name)) for name in names),
            _per_cent(share),
            f"{cell.n_parameters:,}",
            f"{cell.n_bytes / 1e6:.2f}",
            text.MISSING if cell.cpu_us is None else f"{cell.cpu_us:,.0f}",
        )
        rows.append(tuple(Entry(text=text.plain(value)) for value in values))
    titles = (*names, "% of the teacher", "weights", "MB stored", "CPU µs")
    columns = (Column(title="System", is_number=False), *(Column(title=title) for title in titles))
    return Table(columns=columns, rows=tuple(rows))


def _opening(results: IntentResults) -> Iterator[Block]:
    yield Paragraph(
        sentences=(
            (f"Split {results.split} of {', '.join(results.evaluated_tasks)}.",),
            ("A score is the exact match of the frame, or of tasks without slots the accuracy, in per cent.",),
            (f"Below it is the share of the score of {text.plain(results.teacher)}.",),
            ("Models are measured as they are stored: matrices in 8 bits, with a scale for each row.",),
            ("CPU time is the median of single utterances on one core, tokens or hashes included.",),
        )
    )
    if results.missing:
        yield Paragraph(sentences=(("Skipped:",),))
        yield Paragraph(sentences=tuple((text.plain(reason),) for reason in results.missing), is_list=True)


def _tasks(results: IntentResults) -> Iterator[Block]:
    for task in results.evaluated_tasks:
        n_utterances = next(cell.n_utterances for cell in results.cells if cell.task == task)
        yield Heading(level=2, text=text.plain(task))
        yield Paragraph(sentences=((f"{text.count(n_utterances, 'utterance')}.",),))
        yield task_table(results, task)


def _published() -> str:
    shares = ", ".join(f"{share} % on {task}" for task, share in PUBLISHED.items())
    return (
        f"Share of the mBERT teacher that pQRNN keeps, at 1/350 of its size: {shares} (Kaliamoorthi et al. 2021). "
        "Other data and a teacher eight times as large: they do not compare one to one."
    )


def _provenance(results: IntentResults) -> Iterator[Block]:
    yield Heading(level=2, text="How it was made")
    if results.commands:
        yield Commands(lines=results.commands)
    machine = json.dumps(results.environment, ensure_ascii=False)
    yield Details(summary="Machine", blocks=(Paragraph(sentences=((machine,),)),))


def _score_entry(results: IntentResults, cell: IntentCell) -> Entry:
    share = results.share_of_teacher(cell)
    small = "" if share is None or cell.system == results.teacher else f"{_per_cent(share)} %"
    return Entry(text=_per_cent(cell.score), small=small)


def _per_cent(share: float | None) -> str:
    return text.MISSING if share is None else f"{100 * share:.1f}"
