"""Readers of tasks of intents and slots, and what is refused."""

from __future__ import annotations

import csv
import gzip

import pytest
from intent_helpers import write_intents

from elasticdenser.datasets.intents import TASKS, intent_task, load_utterances
from elasticdenser.datasets.intents.frames import is_expressible, parse_frame
from elasticdenser.datasets.words import split_words
from elasticdenser.errors import BadInputError, DataMissingError


@pytest.fixture(autouse=True)
def usual_field_limit():
    """Python's own limit: reading a corpus raises it in the whole process."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.fixture
def folder(tmp_path):
    return write_intents(tmp_path)


def test_every_task_is_read(folder):
    found = {}
    for name in ("mtop", "mtop-de", "facebook-es", "snips", "clinc150", "clinc150-oos", "banking77"):
        task = TASKS[name]
        utterances = load_utterances(folder, task, "test")
        found[name] = (len(utterances), {utterance.intent for utterance in utterances})
        for split in task.splits:
            for utterance in load_utterances(folder, task, split):
                assert len(utterance.words) == len(utterance.tags)
                assert task.has_slots or set(utterance.tags) == {"O"}
    assert found == {
        "mtop": (12, {"SORT", "WAIT"}),
        "mtop-de": (12, {"SORT", "WAIT"}),
        "facebook-es": (12, {"alarm__sort", "alarm__wait"}),
        "snips": (12, {"Sort", "Wait"}),
        "clinc150": (1, {"sort"}),
        "clinc150-oos": (2, {"sort", "oos"}),
        "banking77": (12, {"sort", "wait"}),
    }


def test_a_colon_is_a_word_of_facebooks_files(folder):
    utterance = load_utterances(folder, TASKS["facebook-es"], "train")[0]
    assert utterance.words[2] == ":" and utterance.tags == ("O", "B-place", "I-place")


def test_a_quoted_text_may_have_lines(folder):
    (folder / "banking77" / "test.csv").write_text('text,category\n"top up\nmy card",top_up\n')
    (utterance,) = load_utterances(folder, TASKS["banking77"], "test")
    assert utterance.words == ("top", "up", "my", "card")


def test_a_compressed_file_is_read(folder):
    path = folder / "banking77" / "train.csv"
    expected = load_utterances(folder, TASKS["banking77"], "train")
    (folder / "banking77" / "train.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert load_utterances(folder, TASKS["banking77"], "train") == expected


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("mtop", "mtop-en/dev.jsonl", '{"question": "a"}\n', r"dev.jsonl:1: .*no 'logical_form'"),
        ("mtop", "mtop-en/dev.jsonl", '{"question": "a", "logical_form": "[IN:A "}\n', "1 missing ]"),
        ("mtop", "mtop-en/dev.jsonl", "a\n", "fetch the file again"),
        ("mtop-de", "mtop-multilingual/dev.json", "[", "this is not JSON"),
        ("mtop-de", "mtop-multilingual/dev.json", '[{"question": {}}]', "no 'de'"),
        ("facebook-es", "fb-multilingual/es.valid", "a:O b:B-x\n", "got no intent"),
        ("facebook-es", "fb-multilingual/es.valid", "a:X <=> b\n", "got the tag 'X'"),
        ("snips", "snips/valid/seq.out", "O B-place I-place\n", "other numbers of lines"),
        ("clinc150", "clinc150/data_full.json", "{}", "no 'val'"),
        ("mtop-de", "mtop-multilingual/dev.json", "5", r"dev.json:1: cannot be read"),
        ("clinc150", "clinc150/data_full.json", '{"val": 5}', "data_full.json:1: cannot be read"),
        ("clinc150", "clinc150/data_full.json", '{"val": [["a"]]}', "data_full.json:1: cannot be read"),
        ("banking77", "banking77/test.csv", "text,category\n" + "a" * 200_000 + ",b\n", "test.csv:2: .*field larger"),
        ("banking77", "banking77/test.csv", "text\na\n", "no 'category'"),
        ("banking77", "banking77/test.csv", "text,category\n", "got no utterances in test of banking77"),
    ],
)
def test_a_damaged_file_is_named(folder, name, file, content, message):
    (folder / file).write_text(content)
    split = "dev" if "dev" in TASKS[name].splits else "test"
    with pytest.raises(BadInputError, match=message):
        load_utterances(folder, TASKS[name], split)


def test_what_is_missing_is_named(folder):
    (folder / "snips" / "test" / "label").unlink()
    with pytest.raises(DataMissingError, match="there is no label, plain or compressed"):
        load_utterances(folder, TASKS["snips"], "test")
    with pytest.raises(BadInputError, match="got the split 'dev', expected one of train, test, those of banking77"):
        load_utterances(folder, TASKS["banking77"], "dev")
    with pytest.raises(BadInputError, match="got the task 'ATIS', expected one of mtop"):
        intent_task("ATIS")
    assert intent_task("MTOP") is TASKS["mtop"]


SIZES = {
    "mtop": (15667, 2235, 1000),
    "mtop-th": (859, 1237),
    "facebook-en": (30521, 4181, 8621),
    "facebook-th": (2156, 1235, 1692),
    "snips": (13084, 700, 700),
    "clinc150": (15000, 3000, 4500),
    "clinc150-oos": (15100, 3100, 5500),
    "banking77": (10003, 3080),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_real_tasks_have_their_sizes(data, name):
    task = TASKS[name]
    assert tuple(len(load_utterances(data / "intent", task, split)) for split in task.splits) == SIZES[name]


def test_tags_express_nearly_all_frames_of_mtop(data):
    import json

    from elasticdenser.datasets.files import read_lines

    shares = []
    for split in ("dev", "test"):
        records = [json.loads(line) for _, line in read_lines(data / "intent" / "mtop-en" / f"{split}.jsonl.gz")]
        known = [is_expressible(parse_frame(row["logical_form"]), split_words(row["question"])) for row in records]
        shares.append(sum(known) / len(known))
    assert shares == pytest.approx([0.9955, 0.997], abs=1e-4)
