"""The corpus of Python's own documentation."""

import subprocess
import sys

import pytest

from elasticdenser.datasets import Corpus, Passage, scan_corpus
from elasticdenser.datasets.python_docs import MAX_WORDS, python_docs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def passages() -> dict[str, Passage]:
    passages = list(python_docs())
    by_id = {passage.doc_id: passage for passage in passages}
    assert len(by_id) == len(passages), "ids are unique"
    return by_id


def test_there_are_a_few_thousand_passages_each_with_a_title_and_a_bounded_text(passages):
    assert 3_000 <= len(passages) <= 9_000
    for passage in passages.values():
        assert passage.title == passage.doc_id
        assert 1 <= len(passage.text.split()) <= MAX_WORDS


@pytest.mark.parametrize(
    ("doc_id", "words"),
    [
        ("csv.reader", "row of the CSV file"),
        ("csv.writer", "fileobj"),
        ("csv.DictReader", "fieldnames"),
        ("threading.Thread.join", "Wait until the thread terminates"),
        ("itertools.groupby", "consecutive keys"),
        ("math.sqrt", "square root"),
        ("math", "mathematical functions"),
        ("builtins.open", "Open file"),
        ("builtins.print", "Prints the values"),
        ("builtins.sorted", "ascending order"),
        ("builtins.str.join", "Concatenate"),
        ("asyncio.run", "Execute the coroutine"),
        ("concurrent.futures.ThreadPoolExecutor", "max_workers"),
        ("collections.abc.Mapping", "key/value"),
        ("collections.deque", "list-like"),
        ("os.path.join", "pathname components"),
        ("os.path.exists", "path exists"),
        ("os.remove", "Remove a file"),
        ("sqlite3.connect", "database"),
        ("struct.pack", "packed"),
        ("time.sleep", "Delay execution"),
        ("unittest.TestCase.assertEqual", "Fail if the two objects are"),
    ],
)
def test_common_functions_are_found_under_their_public_names(passages, doc_id, words):
    assert words in passages[doc_id].text


def test_signatures_stand_before_the_docstring(passages):
    assert passages["threading.Thread.join"].text.startswith("join(self, timeout=None) ")
    assert passages["math.sqrt"].text.startswith("sqrt(x, /) ")
    assert passages["csv.DictReader"].text.startswith("class DictReader(f, fieldnames=None")
    assert passages["builtins.print"].text.startswith("print(*args, sep=' '")


def test_private_names_tests_and_jokes_are_left_out(passages):
    assert not [name for name in passages if any(part.startswith("_") for part in name.split("."))]
    tops = {name.partition(".")[0] for name in passages}
    assert not tops & {"test", "idlelib", "lib2to3", "turtledemo", "antigravity", "this", "posixpath", "ntpath"}
    assert not [name for name in passages if "test" in name.split(".")[:-1] or "tests" in name.split(".")]
    assert "builtins.help" not in passages
    assert "builtins.exit" not in passages


def test_the_order_is_always_the_same(passages):
    assert list(python_docs()) == list(passages.values())


def test_sources_are_not_imported_and_nothing_is_printed():
    code = (
        "import sys; from elasticdenser.datasets.python_docs import python_docs; n = len(list(python_docs()));"
        "assert not {'tkinter', 'turtle', 'webbrowser', 'antigravity', 'distutils', 'cgi'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_makes_a_corpus(passages, tmp_path):
    corpus = Corpus.from_passages("python-docs", lambda: iter(passages.values()))
    scan = scan_corpus(corpus, tmp_path)
    assert (scan.n_passages, scan.n_skipped) == (len(passages), 0)
