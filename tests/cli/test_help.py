"""Help and usage errors of all commands."""

from __future__ import annotations

import pytest
from cli_helpers import run, run_code
from typer.testing import CliRunner

from elasticdenser.cli import COMMANDS, make_app


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_one_example_per_line(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    result = run(*([command] if command else []), "--help")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    epilog = lines[next(number for number, line in enumerate(lines) if line in ("Example:", "Examples:")) + 1 :]
    examples = [line for line in epilog if line]
    assert examples
    assert all(line.startswith(f"elasticdenser {command or ''}".strip()) for line in examples)
    assert all(line.count("elasticdenser") == 1 for line in examples)


@pytest.mark.slow
@pytest.mark.parametrize("args", [["--help"], ["index", "--help"], ["search", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys\nfrom elasticdenser.cli import app\n"
        f"try:\n    app({args!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'faiss', 'tokenizers', 'huggingface_hub', 'ir_datasets', 'ir_measures',"
        " 'fastapi', 'uvicorn'}\n"
        "sys.stderr.write(' '.join(heavy & set(sys.modules)))"
    )
    result = run_code(code)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("command", ["serve", "simulate", "loadtest"])
def test_help_lists_every_registered_policy(command, monkeypatch):
    from elasticdenser.engine.policies import POLICIES

    monkeypatch.setenv("COLUMNS", "200")
    output = " ".join(run(command, "--help").stdout.replace("│", " ").split())
    assert [policy.spelling for policy in POLICIES.values() if policy.spelling not in output] == []


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_an_app_of_one_command_has_the_same_help(command):
    alone = CliRunner().invoke(make_app(command), [command, "--help"])
    assert (alone.exit_code, alone.stdout) == (0, run(command, "--help").stdout)


@pytest.mark.parametrize(
    "args",
    [
        ["search"],
        ["search", "x", "q", "--file", "f"],
        ["search", "x", "q", "-k", "0"],
        ["index", "x"],
        ["index", "x", "-o", "y", "--workers", "0"],
        ["nonsense"],
        ["info", "--nonsense", "x"],
        ["evaluate", "a", "b", "RR@10", "--answers-in", "c"],
        ["evaluate", "a", "b", "RR@10", "AnswerMatch@5"],
        ["evaluate", "a", "b", "RR@10", "--regex"],
        ["serve", "x", "--minimum-quality", "2"],
    ],
)
def test_usage_errors_exit_with_2(args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr
