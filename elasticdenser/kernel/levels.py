"""Every size of an encoder without torch: the full encoder, its trained sizes, and level 0.

The duties are those of `elasticdenser.models.levels.Levels`; the arithmetic is the kernel's or, where that is not
built, numpy's.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from threading import Lock

import numpy as np

from elasticdenser.arrays import Floats
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel.elastic_weights import ElasticWeights, read_elastic
from elasticdenser.kernel.kernel_sizes import PORTABLE, KernelSize, KernelSizes, kernel_paths
from elasticdenser.kernel.packing import PRECISIONS
from elasticdenser.kernel.plain_sizes import PlainSize, PlainSizes
from elasticdenser.kernel.weights import Transformer, read_full
from elasticdenser.models.locate import is_elastic
from elasticdenser.models.settings import POOLINGS
from elasticdenser.subnet import LEVEL_0, Subnet

NUMPY = "numpy"
"""The path that needs no kernel."""

"""The kernel's path without vectors of its own."""


class RuntimeLevels:
    """The sizes of an encoder; safe to call from several threads, which compute at the same time.

    A size's weights are laid out when it is first used; the trained sizes share one copy, the full encoder has its own.

    Args:
        full: The full encoder.
        elastic: Its trained sizes, if there are any.
        precision: `int8`, which is fastest, or `fp32`; numpy computes in float32 whatever is asked for.
        path: One of `available_paths`; None is the fastest.

    Raises:
        ModelError: There is no such precision or path here.
    """

    def __init__(
        self,
        full: Transformer,
        elastic: ElasticWeights | None = None,
        *,
        precision: str = "int8",
        path: str | None = None,
    ) -> None:
        self.path = path or available_paths()[0]
        if self.path not in available_paths():
            raise ModelError(f"got the path {path!r}; this machine has: {', '.join(available_paths())}")
        if precision not in PRECISIONS:
            raise ModelError(f"got the precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
        self.precision = precision if self.has_kernel else "fp32"
        self.full_subnet = Subnet(1.0, full.n_layers)
        smaller = [] if elastic is None else [size for size in elastic.shape.grid if size != self.full_subnet]
        has_table = elastic is not None and elastic.table is not None
        self.shape = None if elastic is None else elastic.shape
        self.subnets = [self.full_subnet, *smaller, *([LEVEL_0] if has_table else [])]
        self._full = full
        self._maker = KernelSizes(full, elastic, precision, self.path) if self.has_kernel else PlainSizes(full, elastic)
        self._made: dict[Subnet, KernelSize | PlainSize] = {}
        self._making = Lock()

    @classmethod
    def load(cls, folder: Path, *, precision: str = "int8", path: str | None = None) -> RuntimeLevels:
        """Read the encoder in `folder`; see the class.

        Raises:
            ModelError: The files are missing, damaged or of another kind; or see the class.
        """
        full = read_full(folder)
        elastic = read_elastic(folder, full) if is_elastic(folder) else None
        return cls(full, elastic, precision=precision, path=path)

    @property
    def has_kernel(self) -> bool:
        """Whether the kernel computes, and not numpy."""
        return self.path != NUMPY

    def encode(
        self, sequences: Sequence[Sequence[int]], pooling: str, subnet: Subnet, *, normalize: bool = False
    ) -> Floats:
        """Return a vector for each sequence of token ids, which does not depend on the other sequences, to the bit.

        Args:
            sequences: Token ids with special tokens.
            pooling: `mean` or `cls`.
            subnet: One of `sizes`.
            normalize: Whether vectors get length 1.

        Returns:
            float32, (n_sequences, dim).

        Raises:
            QueryError: A sequence is empty or too long, a token does not exist, or there is no such size or pooling.
        """
        if pooling not in POOLINGS:
            raise QueryError(f"got {pooling!r} pooling; expected {' or '.join(map(repr, POOLINGS))}")
        size = self._made.get(subnet) or self._make(subnet)
        starts = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum([len(sequence) for sequence in sequences], out=starts[1:])
        try:
            # Unlike numpy, it takes no number that is not whole.
            ids = np.frombuffer(array("i", list(chain.from_iterable(sequences))), np.int32)
            return size.encode(ids, starts, pooling, normalize)
        except (TypeError, ValueError, OverflowError) as error:
            raise QueryError(f"the token ids cannot be encoded: {error}") from None

    def _make(self, subnet: Subnet) -> KernelSize | PlainSize:
        if subnet not in self.subnets:
            raise QueryError(f"got subnet {subnet}; this encoder has the sizes: {', '.join(map(str, self.subnets))}")
        with self._making:
            if subnet not in self._made:
                is_full = subnet == self.full_subnet
                self._made[subnet] = self._maker.full_subnet() if is_full else self._maker.trained_size(subnet)
        return self._made[subnet]


def available_paths() -> tuple[str, ...]:
    """Return the ways to compute that this machine has, fastest first.

    The kernel's portable path comes behind numpy: it is there for processors to come, and to check the others by.
    """
    fast = [path for path in kernel_paths() if path != PORTABLE]
    return (*fast, NUMPY, *(path for path in kernel_paths() if path == PORTABLE))
