"""The decorator of commands: groups of options, errors in one line, Ctrl-C, SIGTERM."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from cli_helpers import assert_fails
from typer.testing import CliRunner

from elasticdenser.artifacts import atomic_write
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


@pytest.fixture
def default_sigterm():
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, previous)


@pytest.mark.usefixtures("default_sigterm")
def test_sigterm_is_one_line_and_leaves_no_temporary_file(tmp_path):
    def terminated() -> None:
        with atomic_write(tmp_path / "results") as file:
            file.write("begun")
            signal.raise_signal(signal.SIGTERM)

    def terminated_build() -> None:
        with resumable():
            terminated()

    result = invoke(terminated)
    assert (result.exit_code, result.stderr) == (143, "terminated\n")
    result = invoke(terminated_build)
    assert result.exit_code == 143
    assert result.stderr == "terminated: what is finished is safe; run the same command again to resume\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("default_sigterm")
def test_sigterm_is_known_where_a_library_replaces_its_exception():
    def terminated() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as Ray does

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert (invoke(terminated).exit_code, invoke(interrupted).exit_code) == (143, 1)


@pytest.mark.usefixtures("default_sigterm")
def test_a_second_sigterm_does_not_interrupt_the_clean_up_but_a_later_one_ends_what_lost_the_first(monkeypatch):
    cleaned_up = []

    def terminated_twice() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned_up.append(True)

    def lost() -> None:
        with suppress(KeyboardInterrupt):  # as in a destructor
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert invoke(terminated_twice).exit_code == 143 and cleaned_up == [True]
    monkeypatch.setattr("elasticdenser.cli.command._REPEAT_S", 0.0)
    assert invoke(lost).exit_code == 143


def test_a_sigterm_that_is_ignored_stays_ignored():
    def survivor() -> None:
        signal.raise_signal(signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert invoke(survivor).exit_code == 0
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_the_first_ctrl_c_is_recorded_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with first_ctrl_c() as signals:
        assert signals == []
        signal.raise_signal(signal.SIGINT)
        assert signals == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before
