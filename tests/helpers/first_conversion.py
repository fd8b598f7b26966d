"""Program in which two threads convert the first value of a type at once; without a lock, msgspec 0.22 ends it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from elasticdenser.dataclass_io import _converted

has_begun = threading.Event()


def slow_type():
    """Return a type while msgspec gathers what it has to know of `Inner`."""
    has_begun.set()
    threading.Event().wait(0.1)
    return int


@dataclass
class Inner:
    number: slow_type()


@dataclass
class Outer:
    inner: Inner


if __name__ == "__main__":
    first = threading.Thread(target=_converted, args=(Outer, {"inner": {"number": 1}}))
    first.start()
    has_begun.wait()
    print(_converted(Outer, {"inner": {"number": 2}}).inner.number)  # noqa: T201
    first.join()
