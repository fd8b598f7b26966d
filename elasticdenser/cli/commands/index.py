"""`elasticdenser index`: encode a corpus into an index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import note, progress_bars
from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from pathlib import Path

    from elasticdenser.index import PassageIndex
    from elasticdenser.models.activation_cache import ActivationCache

_EXAMPLES = options.examples(
    "index passages.jsonl -o indexes/mine",
    "index beir/nq/ -o indexes/nq --factory HNSW32",
    "index articles.csv -o indexes/articles --id doi --text abstract+body --title headline",
    "index part1.tsv.gz part2.tsv.gz -o indexes/both --skip-bad",
    "index passages.jsonl -o indexes/mine --precision int8",
    "index reports.jsonl -o indexes/reports --chunk 128/32",
    "index notes/ -o indexes/notes --chunk 128/32",
    "index 'sqlite:docs.db?query=SELECT id, title, body AS text FROM docs' -o indexes/docs",
    "index posts.jsonl -o indexes/posts --metadata section,date:date,tags:text[]",
    "index passages.jsonl -o indexes/mine --hybrid    (search by words too)",
    "index msmarco-passage -o indexes/msmarco --device cuda",
    "index passages.jsonl -o indexes/tuned --encoder models/tuned --recycle activations/",
    "index passages.jsonl -o indexes/mine --shards 8 --ray auto    (on a Ray cluster)",
    "index passages.jsonl -o indexes/mpnet --encoder sentence-transformers/all-mpnet-base-v2",
)


@command
def index(
    corpus: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS...",
            help="Passages, from one or more sources: a BEIR folder; a JSON, TSV (id, text, title), CSV, plain text, "
            "Markdown or HTML file, compressed or not (.gz, .zst); a Parquet or PDF file; a folder of such files; an "
            "SQLite database (sqlite:PATH?query=SELECT ...); or an ir_datasets id.",
            show_default=False,
        ),
    ],
    output: options.NewIndexPath,
    *,
    encoder: options.NewIndexEncoder = None,
    factory: options.Factory = "auto",
    reading: options.CorpusOptions,
    chunk: Annotated[
        str | None,
        typer.Option(
            metavar="TOKENS[/OVERLAP]",
            help="Cut documents at the ends of sentences into passages of at most so many tokens; each repeats "
            "sentences of up to OVERLAP tokens from the end of the one before. Default: one passage a document.",
            show_default=False,
        ),
    ] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Index the words of the passages too, for `search --hybrid`.")
    ] = False,
    stemmer: options.Stemmer = "porter",
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Do not store the texts; hits are then shown without them.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing index, once the new one is complete.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Delete an unfinished build of other input in the same folder.")
    ] = False,
    workers: options.EncodingWorkers = None,
    shards: options.Shards = None,
    ray: options.BuildingRay = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Arithmetic: int8 (CPU, the fastest there), fp32, bf16, fp16 (GPU), or auto: fp16 on a GPU, else bf16 "
            "if the CPU has it, else fp32; without torch, int8.",
        ),
    ] = "auto",
    device: options.Device = "auto",
    max_length: Annotated[
        int | None, typer.Option(help="Maximum number of tokens of a text; the rest is cut off. Default: the model's.")
    ] = None,
    query_prompt: options.QueryPrompt = None,
    passage_prompt: options.PassagePrompt = None,
    query_prompt_name: options.QueryPromptName = None,
    passage_prompt_name: options.PassagePromptName = None,
    pooling: options.Pooling = None,
    dim: options.Dimensions = None,
    similarity: options.Similarity = None,
    recycle: options.Recycle = None,
    recycled_layers: options.RecycledLayers = 0,
    recycled_gb: options.RecycledGigabytes = 10.0,
    offline: options.Offline = False,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Encode the passages of a corpus into an index. After an interruption, the same command resumes the build."""
    from elasticdenser.encoders.deferred import DeferredPassageEncoder
    from elasticdenser.encoders.recycling import RecyclingSettings
    from elasticdenser.index import PassageIndex
    from elasticdenser.index.chunking import Chunking
    from elasticdenser.models.locate import DEFAULT_MODEL

    dtype = options.dtype_of(precision)
    chunking = None if chunk is None else Chunking.parse(chunk)
    if recycled_layers and recycle is None:
        raise QueryError("got --recycled-layers without --recycle, expected the folder of the cache: --recycle FOLDER")
    if not 0 <= recycled_gb < math.inf:
        raise QueryError(f"got --recycled-gb {recycled_gb:g}, expected gigabytes from 0 on, such as 10")
    recycling = None
    if recycle is not None:
        recycling = RecyclingSettings(folder=recycle, layers=recycled_layers, max_bytes=int(recycled_gb * 1e9))
    opened_corpus = reading.open(corpus)
    passage_encoder = DeferredPassageEncoder(  # loaded once the first lines have been read
        encoder or DEFAULT_MODEL,
        dtype=dtype,
        device=device,
        download=not offline,
        trust_remote_code=trust_remote_code,
        max_length=max_length,
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
        query_prompt_name=query_prompt_name,
        passage_prompt_name=passage_prompt_name,
        pooling=pooling,
        dim=dim,
        similarity=similarity,
        recycling=recycling,
    )
    if passage_encoder.kind == "bert":
        options.note_precision(dtype, device)
    options.note_prompts(passage_encoder.fingerprint)
    with resumable(), progress_bars() as progress:
        built = PassageIndex.build(
            opened_corpus,
            output,
            passage_encoder,
            factory=factory,
            texts=not no_texts,
            overwrite=overwrite,
            restart=restart,
            workers=workers,
            chunk=chunking,
            hybrid=hybrid,
            stemmer=stemmer,
            shards=shards,
            ray=ray,
            progress=progress,
        )
    _note_built(built, output, is_sharded=shards is not None)
    if passage_encoder.activations is not None:
        note(_recycled(passage_encoder.activations))
    note(f'now try:  elasticdenser search {output} "your question"')


def _note_built(built: PassageIndex, output: Path, *, is_sharded: bool) -> None:
    """Say what an index holds, and what was skipped and cut."""
    structure = built.manifest.structure
    chunks_of = "" if built.manifest.n_documents is None else f" of {built.manifest.n_documents:,} documents"
    in_shards = f" in {len(built.contents.segments)} shards" if is_sharded else ""
    note(
        f"{output}: {len(built):,} passages{chunks_of}{in_shards}, structure {structure.factory}, recall@10 "
        f"{structure.recall_at_10:.3f} against exact search, on {structure.n_sampled} sampled queries"
    )
    for reason, count in sorted(built.manifest.corpus["skipped"].items()):
        note(f"skipped {count:,}: {reason}")
    if truncated := built.manifest.n_truncated:
        max_length = built.manifest.encoder.settings.max_length
        note(
            f"cut {truncated:,} of {len(built):,} passages at {max_length} tokens, the most that the encoder reads; "
            f"the rest of their text is not searched: --overwrite --chunk {max_length} divides them into passages"
        )


def _recycled(cache: ActivationCache) -> str:
    """Return what a cache of activations did."""
    counts = cache.counts
    full = f"; {counts.refused:,} did not fit into --recycled-gb" if counts.refused else ""
    return (
        f"{cache.folder}: states after layer {cache.source.layer} of {counts.read:,} passages were there, those of "
        f"{counts.computed:,} were computed{full}; {cache.n_bytes / 1e9:.2f} GB"
    )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(index)
