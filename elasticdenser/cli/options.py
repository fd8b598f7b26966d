"""Options that several commands share."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.errors import BadInputError, QueryError

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever
    from elasticdenser.subnet import Subnet

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of an index.", show_default=False)]
EncoderName = Annotated[
    str | None,
    typer.Option(
        "--encoder", help="Sentence encoder: a folder or a hub id. Default: all-MiniLM-L6-v2, or the index's."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the hub; use what is on this machine.")]
Download = Annotated[
    bool, typer.Option("--download", help="Let ir_datasets fetch what is missing of a data set given by its id.")
]
InProcesses = Annotated[
    bool | None,
    typer.Option(
        "--processes/--threads",
        help="WorkerPool search in a process each, or in threads of one. Default: processes, unless torch computes.",
        show_default=False,
    ),
]
Hits = Annotated[int, typer.Option("-k", min=1, help="Hits for each query.")]
SubnetName = Annotated[
    str | None,
    typer.Option(
        "--subnet",
        help="Size of the query encoder, such as w0.5-d3 or level0, or all of them: all. Default: the full one.",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Arithmetic of the query encoder: int8 (CPU), fp32, bf16, fp16 (GPU), or auto: the fastest for the device."
    ),
]
Exact = Annotated[bool, typer.Option("--exact", help="Scan all vectors instead of using the index's structure.")]
Recall = Annotated[
    float | None,
    typer.Option(
        help="Search with less effort: the least that has such a recall@10 (`info` shows them). Default: the greatest.",
        show_default=False,
    ),
]
Split = Annotated[
    str | None, typer.Option(help="Split of a BEIR folder's qrels. Default: test, else dev, else the only one.")
]


_DTYPES = {"auto": "auto", "int8": "int8", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def examples(*commands: str) -> str:
    """Return the end of a command's help: an example a line, as they are typed, for `rich` to print as they are."""
    lines = ["Examples:" if len(commands) > 1 else "Example:", *(f"elasticdenser {command}" for command in commands)]
    # Some versions of Typer join lines that have no empty one between them; rich reads square brackets as markup.
    return "\n\n".join(lines).replace("[", "\\[")


@contextmanager
def loading() -> Iterator[None]:
    """Import and load what stays until the end: the garbage collector need not look at it again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def dtype_of(precision: str) -> str:
    """Return what encoders call the arithmetic that `--precision` names; their own names are taken too.

    Raises:
        typer.BadParameter: There is no such precision.
    """
    dtype = _DTYPES.get(precision, precision)
    if dtype not in _DTYPES.values():
        raise typer.BadParameter(f"got {precision!r}; expected one of {', '.join(_DTYPES)}", param_hint="--precision")
    return dtype


def compute_on_one_thread() -> None:
    """Encode queries on one thread: more of them only wait for each other on a query."""
    import torch

    torch.set_num_threads(1)


def sizes_of(retriever: Retriever, subnet: str | None) -> list[Subnet]:
    """Return the sizes that `--subnet` names.

    Raises:
        QueryError: The encoder has no such size.
    """
    encoder = retriever.encoder
    if subnet == "all":
        return encoder.subnets
    try:
        return [encoder.resolve_subnet(subnet)]
    except QueryError as error:
        raise QueryError(f"{error}; or give --subnet all") from None


def key_in(file: Path) -> str:
    """Return the API key that a file holds.

    Raises:
        BadInputError: The file cannot be read, is not UTF-8, is empty, or holds more than one line.
    """
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise BadInputError(f"cannot read the API key ({error}): expected a file of one line", file) from error
    if not key:
        raise BadInputError("the file is empty; expected the API key, in one line", file)
    if not key.isprintable():
        raise BadInputError("the file holds more than a line of text; expected the API key, in one line", file)
    return key


def encoder_options(precision: str, device: str) -> dict[str, str]:
    """Return the options of an encoder that these two say.

    Raises:
        typer.BadParameter: There is no such precision.
    """
    return {"dtype": dtype_of(precision), "device": device}


def open_retriever(
    path: Path, encoder: str | None, device: str, offline: bool, precision: str = "auto", **more: Any
) -> Retriever:
    """Open an index with its encoder, computing on one thread; `more` are options of `ElasticQueryEncoder`.

    Raises:
        typer.BadParameter: There is no such precision.
    """
    choice = {**encoder_options(precision, device), **more}
    with loading():
        from elasticdenser.retrieval.retriever import Retriever

        retriever = Retriever.open(path, encoder=encoder, download=not offline, **choice)
    if "torch" in sys.modules:  # else our own kernel computes, on one thread
        compute_on_one_thread()
    return retriever
