"""Notes and logs on stderr."""

from __future__ import annotations

import logging

import pytest

from elasticdenser.cli.output import show_warnings


@pytest.fixture
def logger():
    """Show the warnings of the package, as the command line does."""
    logger = logging.getLogger("elasticdenser")
    handlers, propagate = list(logger.handlers), logger.propagate
    show_warnings()
    yield logger.getChild("any")
    logger.handlers, logger.propagate = handlers, propagate


def test_a_warning_is_one_line(logger, capsys):
    logger.info("unseen")
    logger.warning("got %d of %s", 2, "three")
    assert capsys.readouterr() == ("", "warning: got 2 of three\n")


def test_the_traceback_of_an_error_is_shown(logger, capsys):
    try:
        raise ValueError("inner") from OSError("cause")
    except ValueError:
        logger.exception("it failed")
    error = capsys.readouterr().err
    assert error.startswith("error: it failed\nOSError: cause\n") and "in test_the_traceback" in error
    assert error.endswith("ValueError: inner\n")
