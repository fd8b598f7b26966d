"""The decorator of commands: groups of options, errors in one line, Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from cli_helpers import assert_fails
from typer.testing import CliRunner

from elasticdenser.cli.command import command, first_ctrl_c, resumable
from elasticdenser.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class Limits:
    most: Annotated[int, typer.Option("--max", min=1, help="Maximum.")] = 3
    least: Annotated[int, typer.Option("--min", help="Minimum.", show_default=False)]


def invoke(function, *args: str):
    app = typer.Typer()
    app.command()(command(function))
    return CliRunner().invoke(app, list(args))


def show(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    limits: Limits,
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    """Show the values."""
    typer.echo(f"{name} {limits} {loud}")


def test_a_group_becomes_one_option_for_each_field():
    result = invoke(show, "x", "--min", "1", "--loud")
    assert result.stdout == "x Limits(most=3, least=1) True\n", result.output
    assert "Limits(most=2, least=1) False" in invoke(show, "x", "--max", "2", "--min", "1").stdout


def test_options_of_a_group_are_checked_and_shown_as_others():
    assert invoke(show, "x").exit_code == 2
    assert invoke(show, "x", "--min", "1", "--max", "0").exit_code == 2
    help_text = invoke(show, "--help").stdout
    assert help_text.index("--max") < help_text.index("--min") < help_text.index("--loud")
    assert "Maximum." in help_text and "default: 3" in help_text and "Show the values." in help_text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (QueryError("got k = 0,\nexpected at least 1"), "error: got k = 0, expected at least 1"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "file"), "error: file: Permission denied"),
    ],
)
def test_errors_that_a_user_can_repair_are_one_line(error, message):
    def fail() -> None:
        raise error

    assert_fails(invoke(fail), message)


def test_defects_keep_their_traceback():
    def fail() -> None:
        raise OSError("not about a file")

    assert isinstance(invoke(fail).exception, OSError)


def test_ctrl_c_is_one_line():
    def interrupted() -> None:
        raise KeyboardInterrupt

    def interrupted_build() -> None:
        with resumable():
            raise KeyboardInterrupt

    assert (invoke(interrupted).exit_code, invoke(interrupted).stderr) == (1, "interrupted\n")
    result = invoke(interrupted_build)
    assert result.exit_code == 1
    assert result.stderr == "interrupted: what is finished is safe; run the same command again to resume\n"


def test_the_first_ctrl_c_is_recorded_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with first_ctrl_c() as signals:
        assert signals == []
        signal.raise_signal(signal.SIGINT)
        assert signals == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before
