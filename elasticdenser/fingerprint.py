"""Fingerprints: equal inputs have equal ones, so that a result can be found again instead of being computed twice."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def fingerprint_of(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a value that JSON can hold; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
