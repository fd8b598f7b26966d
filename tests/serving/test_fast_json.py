"""JSON by msgspec is that of the standard library."""

from __future__ import annotations

import json

import pytest

from elasticdenser.serving.fast_json import json_bytes


@pytest.mark.parametrize(
    "value",
    [
        {"text": 'ä "☃"\n\x00\u2028', "score": 0.1 + 0.2, "n": [1, -2, 1e300, 5e-324]},
        {"metadata": {"a": None, "b": [True]}},
    ],
)
def test_values_are_those_of_the_standard_library(value):
    assert json.loads(json_bytes(value)) == value


def test_half_a_surrogate_pair_is_replaced():
    assert json.loads(json_bytes({"text": "a\ud800b"})) == {"text": "a?b"}
