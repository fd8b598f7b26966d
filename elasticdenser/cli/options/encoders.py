"""Options that choose an encoder, and the way it computes."""

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
from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.models.settings import EncoderFingerprint
    from elasticdenser.retrieval.retriever import Retriever

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
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Let the encoder execute code that it brings: it can do all that you can do."
    ),
]
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
Recycle = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Cache the states of the encoder's first layers in this folder, and start from those that are there: "
        "passages are encoded sooner once only later layers have changed. Takes 2 bytes for each of a token's "
        "hidden numbers.",
        show_default=False,
    ),
]
RecycledLayers = Annotated[
    int, typer.Option(metavar="N", help="First layers for --recycle. Default: half.", show_default=False)
]
RecycledGigabytes = Annotated[
    float, typer.Option("--recycled-gb", metavar="GB", help="Most gigabytes in the folder of --recycle.")
]
Similarity = Annotated[
    str | None,
    typer.Option(
        metavar="cosine|dot", help="Similarity to rank by. Default: the model's, else cosine.", show_default=False
    ),
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


def compute_on_one_thread() -> None:
    """Let torch encode on one thread: a query is too short to gain from several."""
    with suppress(ModuleNotFoundError):  # the package's own kernel computes without torch, on one thread
        import torch

        torch.set_num_threads(1)


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
