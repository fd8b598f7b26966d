"""The encoder of queries, at any size. It needs torch only for arithmetic that our own kernel does not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.backends.base import load_backend
from elasticdenser.encoders.backends.kernel import can_run
from elasticdenser.encoders.base import SentenceEncoder
from elasticdenser.encoders.devices import device_type
from elasticdenser.encoders.vector_cache import VectorCache
from elasticdenser.errors import QueryError
from elasticdenser.models.locate import DEFAULT_ELASTIC, ModelLocation, find_model
from elasticdenser.models.settings import INT8, EncoderSettings, read_settings
from elasticdenser.query_input import check_query
from elasticdenser.subnet import Subnet


class ElasticQueryEncoder(SentenceEncoder):
    """The query side: one model whose size is chosen per call. Every size answers in the full encoder's space.

    In `int8` it computes in the calling thread alone, without torch. Else torch computes, on as many threads as it is
    set to in the calling process; on a busy machine one a query is fastest by far (`torch.set_num_threads(1)`, as the
    command line does): more of them only wait for each other.

    Args:
        found: As for `SentenceEncoder`; a folder without trained sizes gives an encoder of the full size alone.
        settings: As for `SentenceEncoder`.
        dtype: Arithmetic of the matrix products: `int8` (our own kernel, on a CPU), `float32`, `bfloat16`, `float16`
            (on a GPU), or `auto`: float16 on a GPU, else int8 where the kernel was built, else float32.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.
        cache: How many vectors of the queries asked last are kept; 0 keeps none.

    Raises:
        ModelError: The files cannot be used, or dtype or device do not exist here.
    """

    def __init__(
        self,
        found: ModelLocation,
        settings: EncoderSettings,
        *,
        dtype: str = "auto",
        device: str = "auto",
        cache: int = 0,
    ) -> None:
        kind = device_type(device)
        if dtype == "auto" and (kind == "cpu" or (kind == "auto" and not _has_gpu())):
            dtype = INT8 if can_run(found) else "float32"
        super().__init__(found, settings, load_backend(found, settings, dtype, device))
        self._known = frozenset(self._backend.subnets)
        self.cache = VectorCache(cache) if cache else None

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_ELASTIC,
        *,
        dtype: str = "auto",
        device: str = "auto",
        cache: int = 0,
        download: bool = True,
        **overrides: Any,
    ) -> Self:
        """Load the encoder `name`; see the class, and `SentenceEncoder.from_pretrained`."""
        found = find_model(name, download=download)
        return cls(found, read_settings(found.path, **overrides), dtype=dtype, device=device, cache=cache)

    @property
    def full_subnet(self) -> Subnet:
        """The size whose vectors are those of the full encoder."""
        return self._backend.full_subnet

    @property
    def subnets(self) -> list[Subnet]:
        """All sizes, from the full one down to `level0`, if there is one."""
        return list(self._backend.subnets)

    def resolve_subnet(self, subnet: str | Subnet | None) -> Subnet:
        """Return the size that `subnet` names; None is the full size.

        Raises:
            QueryError: The encoder has no such size.
        """
        wanted = self.full_subnet if subnet is None else Subnet.parse(subnet)
        if wanted not in self._known:
            only = "" if len(self.subnets) > 1 else " (its folder holds no trained ones)"
            known = ", ".join(map(str, self.subnets))
            raise QueryError(f"got subnet {wanted}; this encoder has the sizes: {known}{only}")
        return wanted

    def encode(self, queries: Sequence[str], subnet: str | Subnet | None = None) -> Vectors:
        """Encode queries in the calling thread.

        A query's vector is the same alone and among others: in `int8` to the bit, with torch all but its last bits.

        Args:
            queries: The queries; each must hold more than white space.
            subnet: The size of the encoder, such as `w0.5-d3` or `level0`; None is the full size.

        Returns:
            float32, (n_queries, dim), L2-normalised if the encoder's settings say so.

        Raises:
            QueryError: A query is empty, or the encoder has no such size.
        """
        size = self.resolve_subnet(subnet)
        if not isinstance(queries, str):
            for number, query in enumerate(queries, 1):
                check_query(query, f"query number {number}")
        prompt = self.settings.query_prompt
        if self.cache is None or isinstance(queries, str):
            return self._encode(queries, prompt, size)
        return self.cache.encode(queries, size, lambda missing: self._encode(missing, prompt, size))


def _has_gpu() -> bool:
    """Say whether torch may see a GPU, without asking it where there is no driver: it takes a second to import."""
    if not any(Path(driver).exists() for driver in ("/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")):
        return False
    import torch

    return torch.cuda.is_available()
