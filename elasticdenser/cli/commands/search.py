"""`elasticdenser search`: hits for one query, a file of queries, standard input, or an interactive prompt."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import hit_rows, metadata_cell, note, print_json, print_table
from elasticdenser.cli.ranker_options import RerankingOptions

if TYPE_CHECKING:
    from elasticdenser.index import PassageIndex
    from elasticdenser.retrieval.retriever import Retriever

_EXAMPLES = options.examples(
    'search indexes/mine "who wrote dune" -k 5',
    'search indexes/mine "who wrote dune" --subnet w0.5-d3    (a smaller subnet of the query encoder)',
    'search indexes/mine "who wrote dune" --subnet all        (every subnet in turn)',
    'search indexes/mine "who wrote dune" --subnet level0 --escalation 0.04:w1-d6',
    'search indexes/mine "who wrote dune" --recall 0.98       (less search effort)',
    'search indexes/mine "who wrote dune" --rerank 50:w0.5-d3    (the 50 best hits again, by the ranker)',
    "search indexes/mine --file questions.txt --json > hits.jsonl",
    "search indexes/mine --json < questions.txt",
    'search indexes/reports "who wrote dune" --by-document   (the best chunk of each document)',
    "search indexes/notes \"roll back\" --filter \"section = 'ops' and date >= '2026-01-01'\"",
    'search indexes/mine "who wrote dune" --hybrid           (meaning and words)',
    'search indexes/mine "who wrote dune" --snippets         (the best sentence of each hit)',
    "search indexes/mine        (a prompt for queries, until Ctrl-D)",
)


@command
def search(
    index: options.IndexPath,
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="The query; without it, see --file.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="File with one query per line; `-`, or neither a query nor a file: standard input."
        ),
    ] = None,
    k: options.Hits = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each query.")] = False,
    within: Annotated[
        Path | None, typer.Option("--within", help="File of document ids, one per line: search only these.")
    ] = None,
    snippets: Annotated[
        bool,
        typer.Option("--snippets", help="Show the sentence of each hit that matches the query best, by the encoder."),
    ] = False,
    searching: options.SearchOptions,
    reranking: RerankingOptions,
    encoding: options.EncoderOptions,
) -> None:
    """Search an index by meaning."""
    from elasticdenser.retrieval.escalation import Escalation

    if query is not None and file is not None:
        raise typer.BadParameter("give a query or --file, not both")
    retriever = encoding.open_retriever(index, **reranking.retriever_options())
    subnets = searching.subnets(retriever)
    search_options: dict[str, Any] = {"k": k, **searching.search_options()}
    if within is not None:
        search_options["doc_ids"] = options.read_ids(within)
    if searching.escalation is not None:
        search_options["escalation"] = Escalation.parse(searching.escalation, retriever.encoder)
        retriever.encoder.encode(["warm up"], search_options["escalation"].subnet)
    for subnet in subnets:
        retriever.encoder.encode(["warm up"], subnet)
        if retriever.reranker is not None:
            list(retriever.search("warm up", subnet=subnet))
    is_empty = True
    for text in _queries(query, file):
        is_empty = False
        for subnet in subnets:
            show_hits(retriever, text, as_json=as_json, snippets=snippets, subnet=subnet, **search_options)
    if is_empty and not _is_prompting(file):
        source = "standard input" if file is None or str(file) == "-" else str(file)
        note(f"{source}: no query in it, nothing but blank lines: expected one query per line")


def show_hits(
    retriever: Retriever, query: str, *, as_json: bool = False, snippets: bool = False, **search_options: Any
) -> None:
    """Search, and print the hits with the subnet that was used and the duration of encoding and search together.

    Args:
        retriever: Retriever to search with.
        query: Text of the query.
        as_json: Print a line of JSON instead of a table.
        snippets: Show the best sentence of each hit.
        **search_options: Further arguments of `Retriever.search`.
    """
    started = time.perf_counter()
    hits = list(retriever.search(query, **search_options))
    seconds = time.perf_counter() - started
    index = retriever.index
    subnet = hits[0].subnet if hits else retriever.encoder.resolve_subnet(search_options.get("subnet"))
    passages = [index.passage(hit.passage_id) if index.has_texts else None for hit in hits]
    all_metadata = [index.metadata_of(hit.passage_id) if index.fields else {} for hit in hits]
    best = retriever.snippets(query, hits) if snippets else [None] * len(hits)
    if as_json:
        rows = [
            {"doc_id": hit.doc_id, "score": round(hit.score, 6)}
            | _place_in_document(index, hit.passage_id)
            | ({} if passage is None else {"title": passage.title, "text": passage.text})
            | ({"metadata": metadata} if index.fields else {})
            | ({} if snippet is None else {"snippet": asdict(snippet)})
            for hit, passage, metadata, snippet in zip(hits, passages, all_metadata, best, strict=True)
        ]
        answer: dict[str, Any] = {"query": query, "subnet": str(subnet)}
        if retriever.reranker is not None:
            answer["reranker"] = str(retriever.reranker)
        print_json({**answer, "seconds": round(seconds, 6), "hits": rows})
        return
    scored = [(hit.score, hit.doc_id, passage) for hit, passage in zip(hits, passages, strict=True)]
    stages = str(subnet) if retriever.reranker is None else f"{subnet}, {retriever.reranker}"
    columns, rows_shown = ["", "score", "id", "passage"], hit_rows(scored, snippets=best)
    if index.fields:
        columns.append("metadata")
        for row, metadata in zip(rows_shown, all_metadata, strict=True):
            row.append(metadata_cell(metadata))
    print_table(f"{query}   ({stages}, {seconds * 1000:.1f} ms)", columns, rows_shown, numeric=2)


def _place_in_document(index: PassageIndex, passage_id: str) -> dict[str, Any]:
    """Return document and number of a chunk; nothing in an index without chunks."""
    if index.manifest.chunking is None:
        return {}
    document = index.document_of(passage_id)
    return {"document": document, "chunk": int(passage_id[len(document) + 1 :])}


def _queries(query: str | None, file: Path | None) -> Iterator[str]:
    if query is not None:
        yield query
    elif _is_prompting(file):
        yield from _prompted_queries()
    else:
        yield from filter(None, (line.strip() for _, line in options.text_lines(file or Path("-"))))


def _is_prompting(file: Path | None) -> bool:
    """Return whether queries are typed at a prompt, if none is given."""
    return file is None and sys.stdin.isatty()


def _prompted_queries() -> Iterator[str]:
    with contextlib.suppress(ImportError):  # gives input() its editing keys and history
        import readline  # noqa: F401
    note("Type a query; Ctrl-D ends.")
    while True:
        # The prompt is not a result: it must not go to a file that stdout is redirected to.
        if not sys.stdout.isatty():
            typer.echo("> ", err=True, nl=False)
        try:
            text = input("> " if sys.stdout.isatty() else "").strip()
        except EOFError:
            note("")
            return
        except UnicodeDecodeError:
            note("error: the query is not UTF-8: type it again")
            continue
        if text:
            yield text


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(search)
