"""Types of the functions in kernel.c, whose docstrings say the shape and dtype of each buffer."""

def paths() -> tuple[str, ...]: ...
def columns(path: int) -> int: ...
def forward(
    path: int,
    model: object,
    ids: object,
    starts: object,
    options: int,
    scratch: object,
    out: object,
    states: object = ...,
) -> int: ...
def multiply(path: int, product: object, inputs: object, out: object) -> None: ...
def maxsim(
    path: int, rows: object, row_bytes: int, dim: int, bounds: object, query: object, highest: object
) -> None: ...
def add_word(
    passages: object,
    counts: object,
    lengths: object,
    weight: float,
    constant: float,
    by_length: float,
    allowed: object,
    sums: object,
    found: object,
) -> int: ...
def rescore(
    path: int,
    vectors: object,
    dim: int,
    queries: object,
    candidates: object,
    k: int,
    all_scores: object,
    scores: object,
    positions: object,
    margins: object,
) -> None: ...
