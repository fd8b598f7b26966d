import threading

import pytest

from elasticdenser.errors import BuildError
from elasticdenser.index.lexical import Analyzer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Running engines, and RUN!", ["run", "engin", "run"]),
        ("the cat's whiskers", ["cat", "whisker"]),
        ("the cat’s whiskers", ["cat", "whisker"]),
        ("Beyoncé Straße", ["beyonc", "straße"]),
        ("cafe\u0301", ["cafe"]),
        ("os.path_join 3.14", ["o", "path", "join", "3", "14"]),
        ("हिन्दी 한국어", ["हिनदी", "한국어"]),
        ("?!", []),
    ],
)
def test_texts_become_words(text, words):
    assert Analyzer().words(text) == words


def test_another_stemmer_has_no_english_stop_words():
    assert Analyzer("german").words("die Häuser, the house") == ["die", "haus", "the", "hous"]
    assert Analyzer("none").words("Running the engines") == ["running", "the", "engines"]


def test_an_unknown_stemmer_is_refused():
    with pytest.raises(BuildError, match=r"got the stemmer 'klingon', expected one of .*porter.*none"):
        Analyzer("klingon")


def test_spans_point_at_the_words_in_the_text():
    text = "Dune: the novels of Frank Herbert"
    spans = list(Analyzer().spans(text))
    assert [(text[start:end], word) for start, end, word in spans] == [
        ("Dune", "dune"),
        ("novels", "novel"),
        ("Frank", "frank"),
        ("Herbert", "herbert"),
    ]


def test_threads_share_an_analyzer():
    analyzer = Analyzer()
    tokens = [f"running{number}s" for number in range(2000)]
    expected = [Analyzer().word(token) for token in tokens]
    found = [None] * 4

    def work(number):
        found[number] = [analyzer.word(token) for token in tokens]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_only_the_last_words_are_kept(monkeypatch):
    monkeypatch.setattr("elasticdenser.index.lexical.analysis._KEPT_WORDS", 3)
    analyzer = Analyzer()
    assert [analyzer.word(f"engines{number}") for number in range(9)] == [f"engines{number}" for number in range(9)]
    assert len(analyzer._words) <= 3
