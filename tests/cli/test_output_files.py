"""Output options: what is no regular file is written to, and never replaced."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading

import pytest
from cli_helpers import COMMAND, ROOT, run

from elasticdenser.cli import options

QUERIES = "q1\tdune\nq2\tcsv file\n"


@pytest.fixture
def queries(tmp_path) -> str:
    (tmp_path / "q.tsv").write_text(QUERIES)
    return str(tmp_path / "q.tsv")


def read_fifo(path) -> tuple[threading.Thread, list[str]]:
    """Read a new FIFO in another thread."""
    os.mkfifo(path)
    content: list[str] = []
    reader = threading.Thread(target=lambda: content.append(path.read_text()), daemon=True)
    reader.start()
    return reader, content


def test_a_run_goes_to_standard_output(index, queries, capfd):
    result = run("run", index, queries, "-k", "1", "-o", "-")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == ["q1", "q2"]
    assert "now try" not in result.stderr


@pytest.mark.slow
def test_a_run_is_added_to_the_file_that_stdout_is(index, queries, tmp_path):
    with open(tmp_path / "all", "w") as file:
        print("before", file=file, flush=True)
        command = [*COMMAND, "run", index, queries, "-k", "1", "-o", "/dev/stdout"]
        subprocess.run(command, cwd=ROOT, stdout=file, check=True)
        file.write("after\n")
    assert [line.split()[0] for line in (tmp_path / "all").read_text().splitlines()] == ["before", "q1", "q2", "after"]


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_run_goes_into_a_fifo(index, queries, tmp_path, is_linked):
    fifo = tmp_path / "fifo"
    reader, content = read_fifo(fifo)
    output = fifo
    if is_linked:
        output = tmp_path / "link.trec"
        output.symlink_to(fifo)
    result = run("run", index, queries, "-k", "1", "-o", str(output))
    assert result.exit_code == 0, result.output
    reader.join(10)
    assert len(content[0].splitlines()) == 2
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert output.is_symlink() is is_linked


def test_a_profile_goes_to_standard_output_alone(index, queries, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("profile", index, "--queries", queries, "--rounds", "1", "--batch-sizes", "1", "-o", "-")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert json.loads(capfd.readouterr().out)["levels"][0]["name"] == "w1-d2"
    assert os.listdir(tmp_path) == ["q.tsv"]


def test_several_runs_do_not_fit_in_one_stream(index, queries):
    result = run("run", index, queries, "--subnet", "all", "-o", "-")
    assert result.exit_code == 2
    assert "takes one run" in " ".join(result.stderr.replace("│", " ").split())


FOLDER_COMMANDS = {
    "index": ["index", "corpus.jsonl"],
    "import": ["import", "vectors.faiss"],
    "export": ["export", "INDEX"],
    "demo": ["demo"],
    "train": ["train", "--queries", "q.tsv"],
    "eval": ["eval", "suite.toml"],
    "simulate": ["simulate", "profile.json"],
    "loadtest": ["loadtest", "INDEX"],
}


@pytest.mark.parametrize("name", FOLDER_COMMANDS)
@pytest.mark.parametrize("output", ["-", "fifo", "link"])
def test_a_folder_is_not_written_in_place_of_something_else(index, tmp_path, monkeypatch, name, output):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    os.symlink("fifo", "link")
    before = sorted(os.listdir())
    result = run(*(index if part == "INDEX" else part for part in FOLDER_COMMANDS[name]), "-o", output)
    assert result.exit_code == 2, result.output
    assert "expected a folder" in " ".join(result.stderr.replace("│", " ").split())
    assert sorted(os.listdir()) == before
    assert stat.S_ISFIFO(os.stat("fifo").st_mode)


def test_every_output_option_is_one_of_the_two_kinds():
    """A new command must say whether it writes a file or a folder."""
    from typer.main import get_command

    from elasticdenser.cli import app

    found = {
        name: option.callback.__wrapped__
        for name, command in get_command(app).commands.items()
        for option in command.params
        if "-o" in option.opts
    }
    folders = dict.fromkeys(FOLDER_COMMANDS, options.output_folder)
    assert found == {**folders, **dict.fromkeys(("run", "rerank", "profile"), options.output_file)}
