"""Host names under which the server accepts requests.

A web page of an attacker can make its own host name resolve to this machine (DNS rebinding), and then read the answers
of a server here. Browsers send that name in the Host header, so requests for unknown names are rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address

from elasticdenser.errors import QueryError

ANY_HOST = "*"

_HOST_HEADER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@/\[\]]+)(:[0-9]*)?")


def parse_allowed_hosts(names: Iterable[str]) -> frozenset[str] | None:
    """Return allowed host names in the form that `is_allowed` takes.

    Args:
        names: Names or addresses without a port; `*` allows any.

    Returns:
        The names in lower case without brackets; None if any is allowed.

    Raises:
        QueryError: A name is not a host name.
    """
    allowed = set()
    for name in names:
        if name == ANY_HOST:
            return None
        as_in_header = f"[{name}]" if ":" in name and not name.startswith("[") else name
        match = _HOST_HEADER.fullmatch(as_in_header)
        if match is None or match[2] or ANY_HOST in name:
            raise QueryError(f"got host {name!a}; expected a name such as search.example.org, without http:// and port")
        allowed.add(_normalised(as_in_header))
    return frozenset(allowed)


def is_allowed(host_headers: Sequence[str], allowed: frozenset[str] | None) -> bool:
    """Return whether a request is for an allowed host name.

    Args:
        host_headers: The Host headers of the request. A request without any is allowed: browsers always send one.
        allowed: Names that are allowed beside those of loopback; None allows any.
    """
    if allowed is None:
        return True
    return all(_is_allowed_header(header, allowed) for header in host_headers)


@lru_cache(maxsize=256)
def _is_allowed_header(header: str, allowed: frozenset[str]) -> bool:
    match = _HOST_HEADER.fullmatch(header)
    if match is None:
        return False
    name = _normalised(match[1])
    return name in allowed or _is_loopback(name)


def _normalised(name: str) -> str:
    return name.strip("[]").lower().removesuffix(".")


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
