"""By which names the server may be called.

A page from elsewhere can have its own name point at this machine (DNS rebinding), and then read what a server here
answers. Browsers send that name along in the header Host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from elasticdenser.errors import QueryError

ANY = "*"

_HEADER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@/\[\]]+)(:[0-9]*)?")


def allowed_hosts(names: Iterable[str]) -> frozenset[str] | None:
    """Return names as `is_allowed` takes them.

    Args:
        names: Names or addresses without a port; `*` is any.

    Returns:
        None if any will do.

    Raises:
        QueryError: One of them is no name of a host.
    """
    made = set()
    for name in names:
        if name == ANY:
            return None
        bare = f"[{name}]" if ":" in name and not name.startswith("[") else name
        found = _HEADER.fullmatch(bare)
        if found is None or found[2] or ANY in name:
            raise QueryError(f"got host {name!a}; expected a name such as search.example.org, without http:// and port")
        made.add(_plain(bare))
    return frozenset(made)


def is_allowed(given: Sequence[str], allowed: frozenset[str] | None) -> bool:
    """Return whether a request may come in.

    Args:
        given: Its headers Host. Without any it may: browsers always send one.
        allowed: Names beside those of loopback; None is any.
    """
    if allowed is None:
        return True
    found = [_HEADER.fullmatch(one) for one in given]
    return all(one is not None and (_plain(one[1]) in allowed or _is_loopback(_plain(one[1]))) for one in found)


def _plain(name: str) -> str:
    return name.strip("[]").lower().removesuffix(".")


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
