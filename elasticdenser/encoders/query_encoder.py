"""Encoder of queries, at any subnet. It imports torch only for arithmetic that the kernel in C does not have."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.backends import load_backend
from elasticdenser.encoders.backends.base import EncoderBackend
from elasticdenser.encoders.backends.kernel import can_run
from elasticdenser.encoders.base import BaseEncoder
from elasticdenser.encoders.devices import device_type
from elasticdenser.encoders.vector_cache import VectorCache
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.lazy_imports import is_installed
from elasticdenser.models.locate import DEFAULT_ELASTIC, ModelLocation, find_model
from elasticdenser.models.manifest import misfit_of
from elasticdenser.models.pqrnn_manifest import is_pqrnn
from elasticdenser.models.settings import INT8, EncoderFingerprint, EncoderSettings, read_settings
from elasticdenser.models.space import check_no_student, space_of
from elasticdenser.query_input import check_list, check_query
from elasticdenser.subnet import LEVEL_0, Subnet

logger = logging.getLogger(__name__)


class ElasticQueryEncoder(BaseEncoder):
    """Elastic encoder, for queries, whose subnet is chosen per call; safe to use from several threads.

    The vectors of every subnet lie in the full encoder's vector space; those of a student, in its teacher's.

    With `int8` the calling thread alone computes, in the kernel, and with `float32` too where torch is not installed.
    Otherwise torch computes, with as many threads as the process has set; on a busy machine one thread is fastest by
    far (`torch.set_num_threads(1)`, as the command line does), because several threads mostly wait for each other.

    Attributes:
        space: Fingerprint of the teacher of a student, as the student was trained; None if it is no student.
        subnets_misfit: Reason why the trained subnets of the folder are left out; empty if they are not.

    Args:
        location: Location of its files, as `find_model` returns it; a folder without trained subnets, or with subnets
            that were trained for another pooling than that of the settings, gives an encoder with the full subnet
            alone. A warning says so.
        settings: How texts become vectors.
        dtype: Arithmetic of the matrix products: `int8` (the kernel in C, on a CPU), `float32`, `bfloat16`, `float16`
            (on a GPU), or `auto`: float16 on a GPU, else int8 where the kernel was built, else float32. An encoder that
            is no BERT has no `int8`, and its `auto` is float16 or bfloat16 on a GPU, whichever keeps its quality.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.
        cache: Maximum number of query vectors to cache; 0 for no cache.

    Raises:
        ModelError: The files cannot be used, there is no such dtype or device here, or the subnets of a student were
            trained for another pooling.
    """

    def __init__(
        self,
        location: ModelLocation,
        settings: EncoderSettings,
        *,
        dtype: str = "auto",
        device: str = "auto",
        cache: int = 0,
    ) -> None:
        kind = device_type(device)
        if dtype == "auto" and (kind == "cpu" or (kind == "auto" and not _has_gpu())):
            dtype = INT8 if can_run(location, settings) else "float32"
        self.space = space_of(location.path)
        self.subnets_misfit = misfit_of(location.path, settings.pooling)
        if self.subnets_misfit and self.space is not None:
            raise ModelError(
                f"the student {location.name} has nothing but its subnets, which cannot be used "
                f"({self.subnets_misfit}): undo the change of its pooling, in 1_Pooling/config.json or by an option"
            )
        backend = load_backend(location, settings, dtype=dtype, device=device, trained_subnets=not self.subnets_misfit)
        super().__init__(location, settings, backend)
        if self.subnets_misfit:
            logger.warning(
                "the trained subnets of %s are left out (%s): queries are encoded by the full encoder alone; "
                "`elasticdenser train` makes subnets for it",
                location.name,
                self.subnets_misfit,
            )
        self._known_subnets = frozenset(self._backend.subnets)
        self.cache = VectorCache(cache) if cache else None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_ELASTIC,
        *,
        dtype: str = "auto",
        device: str = "auto",
        cache: int = 0,
        download: bool = True,
        trust_remote_code: bool = False,
        **overrides: Any,
    ) -> Self:
        """Load the encoder `name`: a folder, or a model id found in this package, in the hub's cache or on the hub.

        Args:
            name: Folder or model id.
            dtype: See the class.
            device: See the class.
            cache: See the class.
            download: Whether the model may be fetched from the hub.
            trust_remote_code: Whether code that the model brings may be executed.
            overrides: `max_length`, `dim`, `similarity`, `query_prompt`, `pooling`, ... to use instead of the model's
                own; see `read_settings`.

        Raises:
            ModelError: The model is not found or not supported.
        """
        location = find_model(name, download=download, trust_remote_code=trust_remote_code)
        return cls(location, read_settings(location.path, **overrides), dtype=dtype, device=device, cache=cache)

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Identity of the vector space, which an index must share to be searched with this encoder."""
        own = super().fingerprint
        return own if self.space is None else replace(own, settings=replace(self.space.settings, dim=self.dim))

    @property
    def full_subnet(self) -> Subnet:
        """The subnet that is the full encoder, or the largest one of a student."""
        return self._backend.full_subnet

    @property
    def subnets(self) -> list[Subnet]:
        """All subnets, from the full encoder down to `level0`, if there is one."""
        return list(self._backend.subnets)

    def resolve_subnet(self, subnet: str | Subnet | None) -> Subnet:
        """Return the subnet that a spelling names; None is the full encoder.

        Raises:
            QueryError: The encoder has no such subnet.
        """
        resolved = self.full_subnet if subnet is None else Subnet.parse(subnet)
        if resolved not in self._known_subnets:
            known = ", ".join(map(str, self.subnets))
            reason = "" if len(self.subnets) > 1 else f" ({self._why_no_subnets()})"
            raise QueryError(f"got subnet {resolved}, expected one of this encoder's: {known}{reason}")
        return resolved

    def backend_for(self, location: ModelLocation, settings: EncoderSettings, dtype: str) -> EncoderBackend | None:
        """Return the backend, for another user of it; None if loading these files would give another one.

        Args:
            location: Location of the files.
            settings: How texts become vectors. Prompts, maximum length and dimensions may differ: a backend reads token
                ids, and computes all dimensions.
            dtype: Arithmetic of the matrix products.
        """
        is_same = (
            (self.location.path, self.location.sha256) == (location.path, location.sha256)
            and (self.settings.pooling, self.settings.normalize) == (settings.pooling, settings.normalize)
            and self.dtype == dtype
            and not self.subnets_misfit  # subnets are left out here that the other user may need
        )
        return self._backend if is_same else None

    def _why_no_subnets(self) -> str:
        if self.subnets_misfit:
            return f"its trained subnets are left out: {self.subnets_misfit}"
        if self.full_subnet == LEVEL_0:
            return "it is a pQRNN" if is_pqrnn(self.location.path) else "it is a table of token vectors"
        return "its folder holds no trained subnets"

    def encode(self, queries: Sequence[str], subnet: str | Subnet | None = None) -> Vectors:
        """Encode queries in the calling thread.

        A query's vector is the same alone and in any batch: with `int8` to the bit, else within the bounds in
        `elasticdenser.encoders.backends`.

        Args:
            queries: The queries; each must hold more than white space.
            subnet: A subnet of the encoder, such as `w0.5-d3` or `level0`; None is the full encoder.

        Returns:
            float32, (n_queries, dim), L2-normalised if the encoder's settings say so.

        Raises:
            QueryError: A query is empty, or the encoder has no such subnet.
        """
        resolved, prompt = self.resolve_subnet(subnet), self.settings.query_prompt
        _check_texts(queries, "query", "queries")
        if self.cache is None:
            return self._compute_vectors(queries, prompt, resolved)
        return self.cache.get_or_compute(
            queries, resolved, lambda missing: self._compute_vectors(missing, prompt, resolved)
        )

    def encode_tokens(self, token_ids: Sequence[int]) -> Vectors:
        """Encode single tokens by the full encoder, each in the place of a query of one letter.

        Args:
            token_ids: Their numbers in the vocabulary.

        Returns:
            float32, (n_tokens, dim), as `encode` does.

        Raises:
            QueryError: The tokenizer does not tell letters apart, or the prompt leaves no room for a query.
        """
        query, other = self._tokenize(["a", "b"], self.settings.query_prompt)
        places = [place for place, (left, right) in enumerate(zip(query, other, strict=False)) if left != right]
        if not places:
            raise QueryError(
                f"got the same tokens for the queries 'a' and 'b', expected others: {self.location.name} cannot encode "
                "single tokens"
            )
        sequences = [[*query[: places[0]], token_id, *query[places[0] + 1 :]] for token_id in token_ids]
        return self._forward(sequences, self.full_subnet)

    def encode_passages(self, passages: Sequence[str], subnet: str | Subnet | None = None) -> Vectors:
        """Encode a few passages, with the prompt for passages, in the calling thread; `PassageEncoder` is for many.

        Args:
            passages: The passages; each must hold more than white space.
            subnet: As in `encode`. Indexes are made by the full encoder.

        Returns:
            As `encode` does.

        Raises:
            QueryError: A passage is empty, or the encoder has no such subnet.
            ModelError: The encoder is a student.
        """
        check_no_student(self.location.path, self.location.name)
        resolved = self.resolve_subnet(subnet)
        _check_texts(passages, "passage", "passages")
        return self._compute_vectors(passages, self.settings.passage_prompt, resolved)


def _check_texts(texts: Sequence[str], kind: str, kinds: str) -> None:
    """Check that texts are a list, and that each can be encoded.

    Raises:
        QueryError: They are not.
    """
    check_list(texts, kind, kinds)
    for number, text in enumerate(texts, 1):
        check_query(text, f"{kind} number {number}")


def _has_gpu() -> bool:
    """Return whether torch sees a GPU; without a GPU driver, torch is not imported, which would take a second."""
    if not any(Path(driver).exists() for driver in ("/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")):
        return False
    if not is_installed("torch"):
        return False
    import torch

    return torch.cuda.is_available()
