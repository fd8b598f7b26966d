"""Documents name only what exists: commands, options, Python names, files and headings."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from documents import DOCUMENTS, ROOT, Block, anchors_of, blocks_of, name_of, without_blocks

from elasticdenser.cli import make_app
from elasticdenser.suites import read_any_suite

# Those of docs/extending.md import each other, and are executed by test_extending.
PYTHON_BLOCKS = [
    block
    for document in DOCUMENTS
    if document.name != "extending.md"
    for block in blocks_of(document)
    if block.language == "python"
]
COMMANDS = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]


def command_lines(document: Path) -> list[str]:
    """Return every call of `elasticdenser` in a document, in blocks and in inline code."""
    lines: list[str] = []
    for block in blocks_of(document):
        if block.language in ("", "bash", "sh", "console", "ini"):
            lines += re.sub(r"\s*\\\n\s*", " ", block.text).splitlines()
    lines += [" ".join(code.split()) for code in re.findall(r"`(elasticdenser [^`]+)`", without_blocks(document))]
    # A call stands at the start of a line, behind a prompt, after `-m`, or in a path of a virtual environment.
    calls = (re.search(r"(?:^\s*(?:\$ )?|-m |/bin/)elasticdenser +([a-z].*)", line) for line in lines)
    return [call[1] for call in calls if call]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_and_their_options_exist(document):
    for line in command_lines(document):
        name, *arguments = shlex.split(line, comments=True)
        assert name in COMMANDS, f"elasticdenser {line}: there is no command {name!r}"
        known = {
            option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        known |= {"--help", "-h"}
        options = [argument.partition("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)]
        unknown = set(options) - known
        assert not unknown, f"elasticdenser {line}: there is no option {', '.join(sorted(unknown))}"


def test_commands_are_found():
    lines = command_lines(ROOT / "README.md")
    assert "serve indexes/mine" in lines
    assert any(line.startswith("search indexes/mine") for line in lines)
    assert len([line for document in DOCUMENTS for line in command_lines(document)]) > 40


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=str)
def test_names_that_examples_import_exist(block: Block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)


SUITE_BLOCKS = [
    block
    for document in DOCUMENTS
    for block in blocks_of(document)
    if "[systems." in block.text or "[models." in block.text
]


@pytest.mark.parametrize("block", SUITE_BLOCKS, ids=str)
def test_suites_are_valid(block: Block, tmp_path):
    (tmp_path / "suite.toml").write_text(block.text, encoding="utf-8")
    read_any_suite(tmp_path / "suite.toml")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_dotted_names_and_paths_in_the_text_exist(document):
    text = without_blocks(document)
    for dotted in re.findall(r"(?<![\w/.-])(elasticdenser(?:\.\w+)+)\b(?!\()", text):
        owner, _, attribute = dotted.rpartition(".")
        try:
            importlib.import_module(dotted)
        except ImportError:
            found = _resolve(owner)
            assert found is not None and hasattr(found, attribute), f"there is no {dotted}"
    for code in re.findall(r"`([^`]+)`", document.read_text(encoding="utf-8")):
        for path in re.findall(r"(?<!\S)((?:elasticdenser|tests|eval|recipes|docs|examples)/[\w./-]+)", code):
            if not path.startswith(("eval/runs", "elasticdenser/all-")):  # made by commands; names of models
                assert (ROOT / path).exists(), f"there is no {path}"


BENCHMARKS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "eval" / "bench").glob("*.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_benchmarks_and_their_options_exist(document):
    text = " ".join(document.read_text(encoding="utf-8").split())
    for command in re.findall(r"`(?:python eval/bench/)?(\w+\.py [^`]+)`", text):
        script, *arguments = shlex.split(command)
        assert (ROOT / "eval" / "bench" / script).is_file(), f"there is no eval/bench/{script}"
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert f'"{option}"' in BENCHMARKS, f"{command}: there is no option {option}"


def _resolve(dotted: str) -> object | None:
    owner, _, attribute = dotted.rpartition(".")
    try:
        return importlib.import_module(dotted)
    except ImportError:
        return getattr(_resolve(owner), attribute, None) if owner else None


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if "docs" not in path.parts], ids=name_of)
def test_links_outside_the_site_lead_somewhere(document):
    # MkDocs checks those between its own pages.
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{name_of(document)} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors_of(file), f"{name_of(document)} links to {target}: there is no such heading"


def test_readme_is_short_and_names_the_two_commands_to_begin_with():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    assert any(line.startswith("make demo") for line in lines)
    assert any(line.startswith("make test ") for line in lines)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_documents_name_no_machine_of_ours(document):
    text = document.read_text(encoding="utf-8")
    for word in ("/work/", "/tmp/", "/root/", "github.com/)"):
        assert word not in text, f"{name_of(document)} has {word!r}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets
