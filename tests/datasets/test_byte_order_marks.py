"""A byte order mark, which Windows' programs write, changes nothing in any text file that is read."""

import json

import pytest

from elasticdenser.cli.options import read_api_key
from elasticdenser.dataclass_io import loads_json, read_toml
from elasticdenser.datasets import load_answers, load_qrels, load_queries, open_corpus, read_dpr_questions
from elasticdenser.datasets.runs import read_run
from elasticdenser.engine.simulation.arrivals import replayed
from elasticdenser.index.foreign_files import read_ids
from elasticdenser.models.model_files import read_json
from elasticdenser.training.texts import TextSource, training_texts


def _passages(path):
    return list(open_corpus(path))


def _whole_text(path):
    return list(open_corpus(path, format="text"))


def _texts(kind):
    return lambda path: training_texts([TextSource(path=path.name, kind=kind)], data=path.parent, seed=0)


JSON_LINE = '{"_id": "1", "title": "t", "text": "x", "answers": ["y"], "question": "q", "answer": "a b c d e f"}\n'
TSV_LINE = "1\tsome text\n"
READERS = [
    ("a.jsonl", JSON_LINE, _passages),
    ("a.json", f"[{JSON_LINE}]", _passages),
    ("a.tsv", TSV_LINE, _passages),
    ("a.tsv", "id\ttext\n1\tx\n", _passages),
    ("a.csv", "id,text\n1,x\n", _passages),
    ("a.txt", "one\ntwo\n", _passages),
    ("a.txt", "one\ntwo\n", _whole_text),
    ("a.jsonl", JSON_LINE, load_queries),
    ("a.json", f"[{JSON_LINE}]", load_queries),
    ("a.tsv", TSV_LINE, load_queries),
    ("a.txt", "one\n", load_queries),
    ("a.csv", "qid,query\n1,x\n", load_queries),
    ("a.csv", "who\t['x']\n", load_queries),
    ("a.csv", "who\t['x']\n", read_dpr_questions),
    ("a.xml", '<topics><topic number="1"><title>x</title></topic></topics>', load_queries),
    ("a.txt", "<top>\n<num>1\n<title>x\n", load_queries),
    ("a.jsonl", JSON_LINE, load_answers),
    ("a.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n", load_qrels),
    ("a.qrels", "q 0 d 1\n", load_qrels),
    ("a.qrels", "q d 1\n", load_qrels),
    ("a.trec", "q Q0 d 1 1.0 t\n", read_run),
    ("docid", "d1\nd2\n", lambda path: read_ids(path, 2)),
    ("times.txt", "0.5\n1.5\n2.5\n", lambda path: list(replayed(path, 10, 1))),
    ("a.txt", "a query\n", _texts("queries")),
    ("a.jsonl", JSON_LINE, _texts("pairs")),
    ("a.toml", "a = 1\n", lambda path: read_toml(path, "file", dict)),
    ("a.json", '{"a": 1}', lambda path: loads_json(path.read_bytes())),
    ("a.json", '{"a": 1}', lambda path: loads_json(path.read_text(encoding="utf-8"))),
    ("config.json", '{"a": 1}', read_json),
    ("key", "secret\n", read_api_key),
]


@pytest.mark.parametrize(("name", "text", "read"), READERS)
def test_a_byte_order_mark_changes_nothing(tmp_path, name, text, read):
    path = tmp_path / name
    path.write_bytes(text.encode())
    expected = read(path)
    assert expected
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(path) == expected
    assert "\ufeff" not in json.dumps(repr(expected), ensure_ascii=False)
