"""Names that users give to the arithmetic of an encoder, such as `bf16`."""

from __future__ import annotations

from elasticdenser.encoders.backends import BACKENDS
from elasticdenser.errors import QueryError

PRECISIONS = {"auto": "auto", "int8": "int8", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Short name -> dtype."""


def dtype_of(precision: str) -> str:
    """Return the dtype that a name such as `bf16` stands for; names of dtypes, such as `bfloat16`, are accepted too.

    Raises:
        QueryError: There is no such precision.
    """
    dtype = PRECISIONS.get(precision, precision)
    if dtype not in BACKENDS:
        raise QueryError(f"got {precision!r}; expected one of {', '.join(PRECISIONS)}")
    return dtype
