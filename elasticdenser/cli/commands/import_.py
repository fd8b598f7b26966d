"""`elasticdenser import`: build an index from the files of pyserini, FAISS or NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars

_EXAMPLES = options.examples(
    "import pyserini-index/ -o indexes/mine --corpus passages.jsonl",
    "import vectors.faiss --ids ids.txt -o indexes/mine",
    "import vectors.npy --ids ids.txt -o indexes/mine --encoder models/mine",
    "import vectors.npy --ids ids.txt -o indexes/api --space text-embedding-3-small --corpus passages.jsonl",
)


@command
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of pyserini (with `index` and `docid`); a FAISS file; or a .npy file, one vector per row.",
            show_default=False,
        ),
    ],
    output: options.NewIndexPath,
    *,
    ids: Annotated[
        Path | None, typer.Option(help="For a file of vectors: their document ids, one per line, in the same order.")
    ] = None,
    encoder: options.NewIndexEncoder = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Instead of an encoder: name of the model that made the vectors, where it is not on this machine, "
            "such as that of an API. A student encodes the queries (`train --teacher-vectors`).",
            show_default=False,
        ),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="Corpus to take the texts from; also checks that the encoder computed the vectors."),
    ] = None,
    reading: options.CorpusOptions,
    factory: options.Factory = "auto",
    query_prompt: options.QueryPrompt = None,
    passage_prompt: options.PassagePrompt = None,
    query_prompt_name: options.QueryPromptName = None,
    passage_prompt_name: options.PassagePromptName = None,
    pooling: options.Pooling = None,
    dim: options.Dimensions = None,
    similarity: options.Similarity = None,
    offline: options.Offline = False,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Build an index from the vectors of another tool, without encoding."""
    from elasticdenser.encoders import PassageEncoder
    from elasticdenser.index.exchange import ForeignSpace, import_index
    from elasticdenser.models.locate import DEFAULT_MODEL

    overrides: dict[str, Any] = {
        "query_prompt": query_prompt,
        "passage_prompt": passage_prompt,
        "query_prompt_name": query_prompt_name,
        "passage_prompt_name": passage_prompt_name,
        "pooling": pooling,
        "dim": dim,
    }
    made_by: PassageEncoder | ForeignSpace
    if space is None:
        made_by = PassageEncoder.from_pretrained(
            encoder or DEFAULT_MODEL,
            download=not offline,
            trust_remote_code=trust_remote_code,
            similarity=similarity,
            **overrides,
        )
        options.note_prompts(made_by.fingerprint)
    elif encoder is not None or any(value is not None for value in overrides.values()):
        raise typer.BadParameter("give --space without options of an encoder: its vectors are taken as they are")
    else:
        made_by = ForeignSpace(name=space, similarity=similarity or "cosine")
    with progress_bars() as progress:
        imported = import_index(
            source,
            output,
            made_by,
            ids=ids,
            corpus=reading.open(corpus) if corpus else None,
            factory=factory,
            progress=progress,
        )
    manifest = imported.manifest
    note(f"{output}: {len(imported):,} passages, vectors {manifest.vectors}, structure {manifest.structure.factory}")
    if manifest.vectors == "decoded":
        note("the source compresses its vectors with loss, so scores are those of the decoded vectors")
    if space is None:
        note(f'now try:  elasticdenser search {output} "your question"')
    else:
        vectors = "QUERIES.jsonl" if corpus is None else output
        note(
            f"now train a student:  elasticdenser train --teacher-vectors {vectors} --index {output} -o models/student"
        )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("import", epilog=_EXAMPLES)(import_)
