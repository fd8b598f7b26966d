"""`elasticdenser index`: encode a corpus into an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, progress_bars

_EXAMPLES = options.examples(
    "index passages.jsonl -o indexes/mine",
    "index beir/nq/ -o indexes/nq --factory HNSW32",
    "index part1.tsv.gz part2.tsv.gz -o indexes/both --skip-bad",
    "index passages.jsonl -o indexes/mine --precision int8",
    "index msmarco-passage -o indexes/msmarco --device cuda",
)


@explained
def index(
    corpus: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS",
            help="A BEIR folder; JSONL, TSV (id, text, title) or plain lines, also .gz or .zst; or an ir_datasets id.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the index to make.", show_default=False)],
    encoder: options.EncoderName = None,
    factory: Annotated[
        str, typer.Option(help="Search structure: auto (by size) or any FAISS factory string.")
    ] = "auto",
    format_: Annotated[
        str, typer.Option("--format", help="Corpus format: auto, beir, jsonl, tsv, lines or irds.")
    ] = "auto",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count and report bad lines instead of failing.")
    ] = False,
    no_texts: Annotated[bool, typer.Option("--no-texts", help="Do not keep the texts for showing hits.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an index of that name, once the new one is complete.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away an unfinished build of something else in that place.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Cores to encode on. Default: all usable ones.")] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            "--dtype",
            help="Arithmetic: int8 (CPU, the fastest there), fp32, bf16, fp16 (GPU), or auto: fp16 on a GPU, else bf16 "
            "if the CPU has it, else fp32.",
        ),
    ] = "auto",
    device: options.Device = "auto",
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a passage that are read. Default: the model's.")
    ] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Put before each query. Default: the model's.")] = None,
    passage_prompt: Annotated[str | None, typer.Option(help="Put before each passage. Default: the model's.")] = None,
    offline: options.Offline = False,
    download: options.Download = False,
) -> None:
    """Encode the passages of a corpus into an index. Interrupted, the same command goes on where it stopped."""
    from elasticdenser.datasets import open_corpus
    from elasticdenser.encoders import PassageEncoder
    from elasticdenser.index import PassageIndex
    from elasticdenser.models.locate import DEFAULT_MODEL

    dtype = options.dtype_of(precision)
    source = open_corpus(corpus, format=format_, skip_bad=skip_bad, download=download)
    passage_encoder = PassageEncoder.from_pretrained(
        encoder or DEFAULT_MODEL,
        dtype=dtype,
        device=device,
        download=not offline,
        max_length=max_length,
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
    )
    try:
        with progress_bars() as progress:
            built = PassageIndex.build(
                source,
                output,
                passage_encoder,
                factory=factory,
                texts=not no_texts,
                overwrite=overwrite,
                restart=restart,
                workers=workers,
                progress=progress,
            )
    except KeyboardInterrupt:
        note("interrupted: what is finished is safe; run the same command again and it goes on from there")
        raise typer.Exit(1) from None
    structure = built.manifest.structure
    note(
        f"{output}: {len(built):,} passages, structure {structure.factory}, recall@10 {structure.recall_at_10:.3f} "
        f"against exact search, on {structure.n_sampled} sampled queries"
    )
    for reason, count in sorted(built.manifest.corpus["skipped"].items()):
        note(f"skipped {count:,}: {reason}")
    note(f'now try:  elasticdenser search {output} "your question"')


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(index)
