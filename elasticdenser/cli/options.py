"""Options that several commands share: single ones, and groups that `command` expands."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.cli.output import note
from elasticdenser.errors import BadInputError, QueryError

if TYPE_CHECKING:
    from elasticdenser.datasets import Corpus
    from elasticdenser.index.contents import IndexContents
    from elasticdenser.models.settings import EncoderFingerprint
    from elasticdenser.progress import Progress
    from elasticdenser.retrieval.retriever import Retriever
    from elasticdenser.subnet import Subnet

STANDARD_OUTPUT = Path("/dev/stdout")


def output_file(path: Path) -> Path:
    """Return the path of an output file; `-` is standard output. Made for the callback of an option."""
    return STANDARD_OUTPUT if str(path) == "-" else path


def output_folder(path: Path | None) -> Path | None:
    """Refuse standard output, FIFOs and devices where a folder is written. Made for the callback of an option."""
    from elasticdenser.artifacts import is_stream

    if path is not None and str(path) == "-":
        raise typer.BadParameter("got -, which is standard output; expected a folder: for one named - write ./-")
    if path is not None and is_stream(path):
        raise typer.BadParameter(f"got {path}, which is a FIFO or a device; expected a folder")
    return path


def new_folder(place: str) -> Path:
    """Return the path of a folder to create; refuse what `output_folder` refuses."""
    path = Path(place)
    output_folder(path)
    return path


IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of an index.", show_default=False)]
NewIndexPath = Annotated[
    Path,
    typer.Option("-o", "--output", help="Folder of the index to build.", show_default=False, callback=output_folder),
]
NewIndexEncoder = Annotated[
    str | None, typer.Option("--encoder", help="Sentence encoder: a folder or a hub id. Default: all-MiniLM-L6-v2.")
]
IndexEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Sentence encoder, or an elastic encoder made from it: a folder or a hub id. Default: the encoder "
        "that the index names.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")]
Precision = Annotated[
    str,
    typer.Option(
        help="Arithmetic of the query encoder: int8 (CPU), fp32, bf16, fp16 (GPU), or auto: the fastest for the device."
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use only models that are on this machine.")]
Download = Annotated[
    bool, typer.Option("--download", help="Let ir_datasets download the missing files of its data sets.")
]
Factory = Annotated[str, typer.Option(help="Search structure: auto (by number of passages) or a FAISS factory string.")]
QueryPrompt = Annotated[str | None, typer.Option(help="Text put before each query. Default: the model's.")]
PassagePrompt = Annotated[str | None, typer.Option(help="Text put before each passage. Default: the model's.")]
QueryPromptName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Put the model's prompt of this name before each query.", show_default=False),
]
PassagePromptName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Put the model's prompt of this name before each passage.", show_default=False),
]
Pooling = Annotated[
    str | None,
    typer.Option(
        metavar="POOLING",
        help="How the vectors of a text's tokens become one: mean, cls, max, mean_sqrt_len_tokens, weightedmean or "
        "lasttoken; needed for a plain transformer of Hugging Face. Default: the model's.",
        show_default=False,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Let the encoder execute code that it brings: it can do all that you can do."
    ),
]
Dimensions = Annotated[
    int | None,
    typer.Option(
        "--dim",
        metavar="N",
        help="Keep only the first N dimensions of every vector, for encoders trained for that (Matryoshka). "
        "Default: the model's truncate_dim, else all.",
        show_default=False,
    ),
]
Similarity = Annotated[
    str | None,
    typer.Option(
        metavar="cosine|dot", help="Similarity to rank by. Default: the model's, else cosine.", show_default=False
    ),
]
NoCompact = Annotated[
    bool, typer.Option("--no-compact", help="Do not merge segments, even if there are many or much is deleted.")
]
Shards = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Build an index of so many shards, each of a range of the corpus; they are built one after another, or "
        "side by side with --ray.",
        show_default=False,
    ),
]
BuildingRay = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="With --shards: build them on the Ray cluster at this address, each on --workers CPUs (default: one). "
        "auto finds a running one, local starts one on this machine for the build.",
        show_default=False,
    ),
]
EncodingWorkers = Annotated[
    int | None, typer.Option("--workers", min=1, help="CPUs that encode passages. Default: all usable CPUs.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        help="Number of batches that run at once. Default: one for each CPU, except one CPU for everything else.",
    ),
]
WorkerProcesses = Annotated[
    bool | None,
    typer.Option(
        "--processes/--threads",
        help="Run each worker in a process, or all in threads of one process. Default: processes, unless torch "
        "computes the vectors.",
        show_default=False,
    ),
]
Hybrid = Annotated[
    bool,
    typer.Option("--hybrid", help="Search by words too, in an index that was built with --hybrid."),
]
WordWeight = Annotated[
    float | None,
    typer.Option(
        metavar="WEIGHT",
        help="With --hybrid: weight of words from 0, meaning alone, to 1, words alone. `tune` finds the best for "
        "your judgements. Default: 0.2.",
        show_default=False,
    ),
]
Stemmer = Annotated[
    str,
    typer.Option(
        help="With --hybrid: how endings of words are cut off: porter (English), another of Snowball's, or none."
    ),
]
Hits = Annotated[int, typer.Option("-k", min=1, help="Number of hits for each query.")]
Split = Annotated[
    str | None, typer.Option(help="Split of a BEIR folder's qrels. Default: test, else dev, else the only one.")
]


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Options that choose the query encoder and the way it computes."""

    encoder: IndexEncoder = None
    device: Device = "auto"
    precision: Precision = "auto"
    offline: Offline = False
    trust_remote_code: TrustRemoteCode = False

    def backend_options(self) -> dict[str, Any]:
        """Return the options that say what computes, as `ElasticQueryEncoder.from_pretrained` takes them.

        Raises:
            typer.BadParameter: There is no such precision.
        """
        options: dict[str, Any] = {"dtype": dtype_of(self.precision), "device": self.device}
        return options | ({"trust_remote_code": True} if self.trust_remote_code else {})

    def open_retriever(self, index: Path, **more: Any) -> Retriever:
        """Open an index with its encoder, which computes on one thread.

        Args:
            index: Folder of the index.
            **more: Further options of `ElasticQueryEncoder.from_pretrained`.

        Raises:
            typer.BadParameter: There is no such precision.
        """
        encoder_options = {**self.backend_options(), **more}
        with _without_garbage_collection():
            from elasticdenser.retrieval.retriever import Retriever

            retriever = Retriever.open(index, encoder=self.encoder, download=not self.offline, **encoder_options)
        if "torch" in sys.modules:  # without it the package's own kernel computes, on one thread
            compute_on_one_thread()
        return retriever


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options that trade the quality of a search for its speed."""

    subnet: Annotated[
        str | None,
        typer.Option(
            metavar="SUBNET",
            help="Subnet of the query encoder, such as w0.5-d3 or level0; all: every subnet in turn. "
            "Default: the full encoder.",
        ),
    ] = None
    exact: Annotated[
        bool, typer.Option("--exact", help="Scan all vectors instead of using the index's search structure.")
    ] = False
    recall: Annotated[
        float | None,
        typer.Option(
            help="Search with the smallest effort that reaches this recall@10 (`info` lists the efforts). "
            "Default: the greatest effort.",
            show_default=False,
        ),
    ] = None
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Search only passages whose metadata meets a condition, such as \"section = 'ops' and date >= "
            "'2026-01-01'\" (`info` lists the fields).",
            show_default=False,
        ),
    ] = None
    by_document: Annotated[
        bool,
        typer.Option(
            "--by-document", help="Rank documents by their best chunk, in an index that was built with --chunk."
        ),
    ] = False
    hybrid: Hybrid = False
    word_weight: WordWeight = None

    def search_options(self) -> dict[str, Any]:
        """Return the other options as `Retriever.search` takes them.

        Raises:
            typer.BadParameter: A weight of words is given for a search without words.
        """
        return {
            "exact": self.exact,
            "recall": self.recall,
            "filter": self.filter,
            "by_document": self.by_document,
            "hybrid": hybrid_of(self.hybrid, self.word_weight),
        }

    def subnets(self, retriever: Retriever) -> list[Subnet]:
        """Return the subnets that `--subnet` names.

        Raises:
            QueryError: The encoder has no such subnet.
        """
        encoder = retriever.encoder
        if self.subnet == "all":
            return encoder.subnets
        try:
            return [encoder.resolve_subnet(self.subnet)]
        except QueryError as error:
            raise QueryError(f"{error}; or give --subnet all") from None


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


def examples(*commands: str) -> str:
    """Return the epilog of a command's help: one example per line, escaped for `rich`."""
    lines = ["Examples:" if len(commands) > 1 else "Example:", *(f"elasticdenser {command}" for command in commands)]
    # Some versions of Typer join lines that have no empty one between them; rich reads square brackets as markup.
    return "\n\n".join(lines).replace("[", "\\[")


def note_precision(dtype: str, device: str = "auto") -> None:
    """Tell the user that passages are encoded in 8 bits where `auto` chooses that because torch is not installed."""
    from elasticdenser.encoders.backends import dtype_without_torch

    if dtype_without_torch(dtype, device) != dtype:
        from elasticdenser.requirements import pip_install

        note(
            "passages are encoded in 8 bits (--precision int8; fp32 is exact and slower): other precisions need the "
            f"extra 'train': {pip_install('train')}"
        )


def note_prompts(encoder: EncoderFingerprint) -> None:
    """Tell the user of prompts that a well-known encoder expects, and that its files do not name."""
    from elasticdenser.cli.encoder_check import missing_prompts

    if advice := missing_prompts(encoder.name, encoder.settings.query_prompt):
        note(advice)


def hybrid_of(hybrid: bool, word_weight: float | None) -> bool | float:
    """Return `--hybrid` and `--word-weight` as `Retriever` takes them together.

    Raises:
        typer.BadParameter: A weight is given for a search without words.
    """
    if word_weight is not None and not hybrid:
        raise typer.BadParameter(
            "got a weight of words, expected --hybrid with it: without, words do not count", param_hint="--word-weight"
        )
    return hybrid if word_weight is None else word_weight


def compacted(index: Path, progress: Progress, *, skip: bool) -> IndexContents:
    """Merge the segments of an index if that is needed, unless it is to be skipped, and return its contents."""
    from elasticdenser.index.compaction import compact_if_needed
    from elasticdenser.index.contents import IndexContents

    if not skip:
        compact_if_needed(index, progress)
    return IndexContents.read(index)


def read_ids(path: Path) -> list[str]:
    """Return the ids in a file, one a line; `-` is standard input.

    Raises:
        BadInputError: The file cannot be read, or holds no id.
    """
    from elasticdenser.datasets.files import decode_line, read_lines, without_bom

    if str(path) == "-":
        lines = (
            decode_line(without_bom(raw), "standard input", number) for number, raw in enumerate(sys.stdin.buffer, 1)
        )
    else:
        lines = (line for _, line in read_lines(path))
    ids = list(filter(None, map(str.strip, lines)))
    if not ids:
        raise BadInputError("no document id in it, nothing but blank lines: expected one id per line", path)
    return ids


def dtype_of(precision: str) -> str:
    """Return the dtype that `--precision` names, such as `bf16`; names of dtypes, such as `bfloat16`, are accepted too.

    Raises:
        typer.BadParameter: There is no such precision.
    """
    from elasticdenser.encoders import precision as precisions

    try:
        return precisions.dtype_of(precision)
    except QueryError as error:
        raise typer.BadParameter(str(error), param_hint="--precision") from None


def n_workers(workers: int | None) -> int:
    """Return the number of workers; None is all usable CPUs except one, which sends, receives and schedules."""
    from elasticdenser.cpus import cpu_count

    return workers or max(1, cpu_count() - 1)


def compute_on_one_thread() -> None:
    """Let torch encode on one thread: a query is too short to gain from several."""
    with suppress(ModuleNotFoundError):  # the package's own kernel computes without torch, on one thread
        import torch

        torch.set_num_threads(1)


def read_api_key(file: Path, kind: str = "API key") -> str:
    """Return the key in a file; messages call it by its kind.

    Raises:
        BadInputError: The file cannot be read, is not UTF-8, is empty, or holds more than one line.
    """
    try:
        key = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(f"cannot read the {kind} ({reason}): expected a file of one line", file) from error
    if not key:
        raise BadInputError(f"the file is empty; expected the {kind}, in one line", file)
    if not key.isprintable():
        raise BadInputError(f"the file holds more than a line of text; expected the {kind}, in one line", file)
    return key


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Switch off garbage collection while modules and data are loaded, as none of them becomes garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
