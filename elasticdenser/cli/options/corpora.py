"""Options of corpora and data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli.output import note

if TYPE_CHECKING:
    from elasticdenser.datasets import Corpus

Download = Annotated[
    bool, typer.Option("--download", help="Let ir_datasets download the missing files of its data sets.")
]
Split = Annotated[
    str | None, typer.Option(help="Split of a BEIR folder's qrels. Default: test, else dev, else the only one.")
]


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Options that say how a corpus is read."""

    format: Annotated[
        str,
        typer.Option(
            help="Corpus format: auto, beir, jsonl (also a JSON array), tsv, csv, parquet, lines (each line of plain "
            "text is a passage), text (each file is a passage), markdown, html (each section is a passage), pdf (each "
            "page is one), documents (the last four, in a folder), sqlite or irds."
        ),
    ] = "auto"
    id: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Field (or column) of the id; several are joined: docid+part. Default: _id, id, doc_id, docid, docno "
            "or pid.",
            show_default=False,
        ),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Field (or column) of the text; several are joined: abstract+body. Default: text or contents.",
            show_default=False,
        ),
    ] = None
    title: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Field (or column) of the title. Default: title.", show_default=False),
    ] = None
    metadata: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD[:TYPE],...",
            help="Fields to show with hits and to filter by, such as section,date:date,tags:text[], or all. Types: "
            "text, number, boolean, date, and lists of them. Default: inferred; `add` keeps those of the index.",
            show_default=False,
        ),
    ] = None
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip, count and report bad lines instead of failing.")
    ] = False
    download: Download = False

    def open(self, sources: list[str]) -> Corpus:
        """Open sources as one corpus, whose remarks are printed.

        Raises:
            BadInputError: A source does not exist, or cannot be read in this way.
        """
        from elasticdenser.datasets import FieldNames, open_corpus

        fields = FieldNames(id=self.id, text=self.text, title=self.title)
        return open_corpus(
            sources,
            format=self.format,
            skip_bad=self.skip_bad,
            download=self.download,
            fields=fields,
            metadata=self.metadata,
            remark=note,
        )
