"""Readers of GLUE: the official files, those of Hugging Face, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from elasticdenser.datasets.glue import TASKS, Example, glue_task, load_glue
from elasticdenser.errors import BadInputError, DataMissingError


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_a_pair_has_the_number_of_its_class(tmp_path):
    write(tmp_path / "RTE" / "train.tsv", "index\tsentence1\tsentence2\tlabel", '0\tA "dog.\tB\tnot_entailment')
    assert load_glue(tmp_path, TASKS["RTE"], "train") == [Example(('A "dog.', "B"), 1.0)]


def test_cola_has_no_line_of_headings(tmp_path):
    text = "gj04\t1\t\tOur friends left.\ngj04\t0\t*\tLeft friends our.\n"
    (tmp_path / "CoLA").mkdir()
    (tmp_path / "CoLA" / "dev.tsv.gz").write_bytes(gzip.compress(text.encode()))
    examples = load_glue(tmp_path, TASKS["CoLA"], "dev")
    assert examples == [Example(("Our friends left.",), 1.0), Example(("Left friends our.",), 0.0)]


def test_a_regression_has_its_number(tmp_path):
    write(tmp_path / "sts-b" / "dev.tsv", "index\tsentence1\tsentence2\tscore", "0\ta\tb\t3.800")
    assert load_glue(tmp_path, glue_task("stsb"), "dev") == [Example(("a", "b"), 3.8)]


def test_mnli_has_two_dev_sets(tmp_path):
    heading = "index\tsentence1\tsentence2\tlabel1\tgold_label"
    for split, label in zip(TASKS["MNLI"].dev, ("neutral", "contradiction"), strict=True):
        write(tmp_path / "MNLI" / f"{split}.tsv", heading, f"0\ta\tb\tneutral\t{label}", "1\tcut")
    assert [load_glue(tmp_path, TASKS["MNLI"], split)[0].label for split in TASKS["MNLI"].dev] == [1.0, 2.0]


@pytest.mark.slow
def test_parquet_of_hugging_face_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "mnli"
    folder.mkdir()
    table = pyarrow.table({"premise": ["a"], "hypothesis": ["b"], "label": [2], "idx": [0]})
    parquet.write_table(table, folder / "validation_matched-00000-of-00001.parquet")
    assert load_glue(tmp_path, TASKS["MNLI"], "dev_matched") == [Example(("a", "b"), 2.0)]
    with pytest.raises(DataMissingError, match="dev_mismatched"):
        load_glue(tmp_path, TASKS["MNLI"], "dev_mismatched")


def test_what_cannot_be_read_is_named(tmp_path):
    path = write(tmp_path / "RTE" / "dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\ta\tb\tmaybe")
    with pytest.raises(BadInputError, match=r"dev.tsv.*got the label 'maybe', expected one of entailment, not_ent"):
        load_glue(tmp_path, TASKS["RTE"], "dev")
    write(path, "index\tsentence1\tsentence2", "0\ta\tb")
    with pytest.raises(BadInputError, match="no column 'label'"):
        load_glue(tmp_path, TASKS["RTE"], "dev")
    write(path, "index\tsentence1\tsentence2\tlabel", "0\ta")
    with pytest.raises(BadInputError, match="got 2 columns, expected 4"):
        load_glue(tmp_path, TASKS["RTE"], "dev")
    write(path, "index\tsentence1\tsentence2\tlabel")
    with pytest.raises(BadInputError, match="no examples"):
        load_glue(tmp_path, TASKS["RTE"], "dev")
    with pytest.raises(DataMissingError, match=r"there is no train.tsv or train-00000"):
        load_glue(tmp_path, TASKS["RTE"], "train")
    with pytest.raises(BadInputError, match="got the task 'GLUE', expected one of CoLA"):
        glue_task("GLUE")


@pytest.mark.slow
def test_the_real_tasks_have_their_official_sizes(data):
    sizes = {"CoLA": (8551, 1043), "MRPC": (3668, 408), "RTE": (2490, 277), "STS-B": (5749, 1500), "WNLI": (635, 71)}
    for name, expected in sizes.items():
        found = tuple(len(load_glue(data / "glue", TASKS[name], split)) for split in ("train", "dev"))
        assert found == expected, name
