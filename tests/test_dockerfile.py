"""The Dockerfile: no daemon builds it here, so that its sources, commands and options are checked one by one."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from elasticdenser.cli import make_app
from elasticdenser.requirements import extras

ROOT = Path(__file__).parents[1]


def _instructions() -> list[tuple[str, str]]:
    """Return (name, arguments) of each instruction."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(name, arguments) for line in lines if line.strip() for name, _, arguments in [line.partition(" ")]]


def _arguments(name: str) -> list[str]:
    return [arguments for instruction, arguments in _instructions() if instruction == name]


def _copied() -> list[str]:
    copies = [line.split() for line in _arguments("COPY") if not line.startswith("--from")]
    return [source for *sources, _ in copies for source in sources]


def test_all_sources_exist_and_are_in_the_context():
    assert _copied()
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert set(_copied()) == kept
    assert [source for source in _copied() if not (ROOT / source).exists()] == []


def test_everything_that_the_build_reads_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {
        "pyproject.toml",
        "setup.py",
        "MANIFEST.in",
        "elasticdenser",
        project["readme"],
        *project["license-files"],
    }
    (constraints,) = re.findall(r"-c (\S+)", " ".join(_arguments("RUN")))
    assert needed | {constraints} <= set(_copied())


def test_the_extra_exists():
    (extra,) = re.findall(r"'\.\[(\w+)\]'", " ".join(_arguments("RUN")))
    assert extra in extras()


def test_it_runs_as_a_user_and_asks_whether_it_is_ready():
    (user,) = _arguments("USER")
    assert user != "root" and any(f"useradd --system --create-home {user}" in line for line in _arguments("RUN"))
    (check,) = _arguments("HEALTHCHECK")
    assert "/readyz" in check and len(json.loads(check.partition("CMD ")[2])) == 3
    (port,) = _arguments("EXPOSE")
    assert f":{port}/" in check


@pytest.mark.parametrize("option", ["--host", "--offline"])
def test_the_default_command_exists(option):
    entry, default = json.loads(_arguments("ENTRYPOINT")[0]), json.loads(_arguments("CMD")[0])
    assert entry == ["elasticdenser"]
    command = typer.main.get_command(make_app()).commands[default[0]]
    assert option in default and any(option in parameter.opts for parameter in command.params)
    assert default[1].startswith(_arguments("VOLUME")[0])
