"""Training texts by kind of source."""

import gzip
import json

import pytest

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BadInputError
from elasticdenser.training.texts import TextSource, training_texts

WORDS = [f"word{at}" for at in range(40)]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8").write(text)


def write_jsonl(path, records):
    write(path, "".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "queries.txt", "who wrote dune\n\n  who   wrote\tdune \nWho wrote dune\n" + "\n".join(WORDS))
    write(tmp_path / "plain.gz", "a query\nanother one\n")
    write_jsonl(
        tmp_path / "corpus.jsonl.gz",
        [
            {"_id": "1", "title": "Dune", "text": " ".join(WORDS[:20]) + "\n" + " ".join(WORDS[20:])},
            {"_id": "2", "title": "Dune", "text": "(one of) two three"},
            {"_id": "3", "title": "", "text": "too few words"},
            {"_id": "4", "title": "who wrote dune", "text": "( ( ( ( ("},
        ],
    )
    write_jsonl(tmp_path / "pairs.jsonl.gz", [{"question": "What is it ?", "answer": "x"}, {"question": " "}])
    write_jsonl(tmp_path / "beir" / "queries.jsonl", [{"_id": str(at), "text": f"question {at}"} for at in range(4)])
    write(tmp_path / "beir" / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore\n0\tx\t1\n1\tx\t1\n")
    write(tmp_path / "beir" / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore\n2\tx\t1\n3\tx\t1\n")
    return tmp_path


def texts_of(folder, *sources, seed=0):
    return training_texts([TextSource(path=path, kind=kind) for path, kind in sources], data=folder, seed=seed)


def test_queries_are_collapsed_and_distinct(folder):
    assert texts_of(folder, ("queries.txt", "queries")) == ["who wrote dune", "Who wrote dune", *WORDS]
    assert texts_of(folder, ("plain.gz", "queries")) == ["a query", "another one"]


def test_absolute_paths_are_not_relative_to_the_data_folder(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("data")
    assert texts_of(elsewhere, (str(folder / "plain.gz"), "queries")) == ["a query", "another one"]


def test_dev_questions_of_a_folder_are_never_trained_on(folder):
    assert texts_of(folder, ("beir", "queries")) == ["question 2", "question 3"]
    (folder / "beir" / "qrels" / "train.tsv").unlink()
    with pytest.raises(BadInputError, match="no split 'train'"):
        texts_of(folder, ("beir", "queries"))


def test_titles_and_pairs(folder):
    assert texts_of(folder, ("corpus.jsonl.gz", "titles")) == ["Dune", "who wrote dune"]
    assert texts_of(folder, ("pairs.jsonl.gz", "pairs")) == ["What is it ?"]


def test_spans_are_four_to_twelve_words_in_sequence(folder):
    lengths = set()
    for seed in range(200):
        long, *rest = texts_of(folder, ("corpus.jsonl.gz", "spans"), seed=seed)
        words = long.split(" ")
        lengths.add(len(words))
        first = WORDS.index(words[0])
        assert words == WORDS[first : first + len(words)]
        assert rest == []  # "(one of) two three": the only span of four words begins with a bracket
    assert lengths == set(range(4, 13))


def test_texts_are_distinct_over_all_sources(folder):
    texts = texts_of(folder, ("queries.txt", "queries"), ("corpus.jsonl.gz", "titles"))
    assert texts == ["who wrote dune", "Who wrote dune", *WORDS, "Dune"]


def test_limit_draws_texts_at_random(folder):
    def drawn(limit, seed):
        source = TextSource(path="queries.txt", kind="queries", limit=limit)
        return training_texts([source], data=folder, seed=seed)

    assert len(set(drawn(10, 0))) == 10
    assert drawn(10, 0) == drawn(10, 0) != drawn(10, 1)
    assert drawn(0, 0) == drawn(1000, 0)


@pytest.mark.parametrize("kind", ["queries", "titles", "spans", "pairs"])
def test_missing_file_is_named(folder, kind):
    with pytest.raises(BadInputError, match=r"absent\.jsonl.*no such file"):
        texts_of(folder, ("absent.jsonl", kind))


def test_bad_sources_are_refused(folder):
    with pytest.raises(BadInputError, match="got kind 'images'"):
        TextSource(path="x", kind="images")
    with pytest.raises(BadInputError, match="limit: got -1"):
        from_value(TextSource, {"path": "x", "kind": "queries", "limit": -1}, "texts")
    with pytest.raises(BadInputError, match="got no sources"):
        training_texts([], data=folder, seed=0)
    write(folder / "empty.txt", "\n \n")
    with pytest.raises(BadInputError, match="holds no training texts of kind 'queries'"):
        texts_of(folder, ("empty.txt", "queries"))
    with pytest.raises(BadInputError, match=r"corpus\.jsonl\.gz:1: got question = None, expected a string"):
        texts_of(folder, ("corpus.jsonl.gz", "pairs"))
    write(folder / "broken.jsonl", '{"question": "a"}\n{"question"\n')
    with pytest.raises(BadInputError, match=r"broken\.jsonl:2: not JSON"):
        texts_of(folder, ("broken.jsonl", "pairs"))
