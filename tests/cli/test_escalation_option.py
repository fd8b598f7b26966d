"""`--escalation`: a search again by a larger subnet where the best hits score nearly alike."""

from __future__ import annotations

import json

import pytest
from cli_helpers import assert_fails, run


@pytest.fixture(scope="module")
def small(index, tiny_elastic) -> tuple[str, ...]:
    """A search at level 0."""
    return "search", index, "dune", "--encoder", str(tiny_elastic), "--subnet", "level0", "--json"


@pytest.mark.slow
def test_the_answer_names_the_subnet_that_encoded_the_query(index, small, tiny_elastic):
    for margin, subnet in (("1e-9", "level0"), ("9", "w1-d2")):
        result = run(*small, "--escalation", f"{margin}:w1-d2")
        assert result.exit_code == 0, result.output
        expected = run("search", index, "dune", "--encoder", str(tiny_elastic), "--subnet", subnet, "--json")
        answers = [json.loads(output.stdout) | {"seconds": 0} for output in (result, expected)]
        assert answers[0] == answers[1] and answers[0]["subnet"] == subnet


@pytest.mark.slow
def test_mistakes_are_named(small):
    assert_fails(run(*small, "--escalation", "w1-d2"), "got the escalation 'w1-d2'; expected MARGIN:SUBNET")
    assert_fails(run(*small, "--escalation", "0.1:w1-d9"), "w1-d9")
    for command in ([*small, "--escalation", "0.1:w1-d2", "--hybrid"], [*small[:5], "--escalation", "0.1:w1-d2"]):
        result = run(*command)
        assert result.exit_code == 2 and "--escalation" in result.output
        assert ("got --hybrid" if "--hybrid" in command else "got no --subnet") in result.output
