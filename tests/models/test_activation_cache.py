"""Cache of activations on disk: what is served, what is refused, its bound, and what an interruption leaves."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elasticdenser.errors import BadInputError, BuildError, ModelError
from elasticdenser.models import activation_cache, activation_files
from elasticdenser.models.activation_cache import ActivationCache
from elasticdenser.models.activation_files import NAME_BYTES, decode_rows, encode_rows
from elasticdenser.models.activation_manifest import ActivationSource

HIDDEN = 8
SOURCE = ActivationSource(key="a" * 64, layer=2, hidden=HIDDEN)
SEQUENCES = [[1, 2, 3], [1, 4], [5, 6, 7, 8, 9]]


def states_of(sequence) -> np.ndarray:
    """Return states that differ for all sequences and positions."""
    return np.random.default_rng(sequence).standard_normal((len(sequence), HIDDEN)).astype(np.float32)


class Computing:
    """Computes states, and counts the sequences."""

    def __init__(self, sequences=SEQUENCES):
        self.sequences, self.n_computed = sequences, 0

    def __call__(self, numbers):
        self.n_computed += len(numbers)
        return np.concatenate([states_of(self.sequences[number]) for number in numbers])


def opened(folder, *, source=SOURCE, dtype="float32", max_bytes=1 << 20) -> ActivationCache:
    return ActivationCache(folder, source, dtype=dtype, max_bytes=max_bytes)


def filled(folder, sequences=SEQUENCES, **options) -> ActivationCache:
    cache = opened(folder, **options)
    cache.get_or_compute(sequences, Computing(sequences))
    cache.flush()
    return cache


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.activations"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_states_are_computed_once_and_read_from_the_disk(tmp_path, dtype):
    first = opened(tmp_path / "cache", dtype=dtype)
    computing = Computing()
    states = first.get_or_compute(SEQUENCES, computing)
    assert computing.n_computed == 3 and len(first) == 3 and not (tmp_path / "cache").exists()
    assert np.array_equal(first.get_or_compute(SEQUENCES, computing), states)  # not on the disk yet
    first.flush()
    again = opened(tmp_path / "cache", dtype=dtype)
    assert np.array_equal(again.get_or_compute(SEQUENCES[::-1], computing)[:5], states[-5:])
    assert computing.n_computed == 3 and (again.counts.read, again.counts.computed) == (3, 0)
    expected = np.concatenate([states_of(sequence) for sequence in SEQUENCES])
    tolerance = {"float32": 0, "float16": 2e-3, "int8": np.abs(expected).max() / 127}[dtype]
    assert np.abs(states - expected).max() <= tolerance
    assert states.dtype == np.float32 and states.shape == (10, HIDDEN)


def test_missing_ones_alone_are_computed(tmp_path):
    filled(tmp_path, SEQUENCES[:2])
    cache, computing = opened(tmp_path), Computing()
    states = cache.get_or_compute(SEQUENCES, computing)
    assert computing.n_computed == 1
    assert np.array_equal(states, np.concatenate([states_of(sequence) for sequence in SEQUENCES]))
    cache.flush()
    assert len(files_of(tmp_path)) == 2 and len(opened(tmp_path)) == 3


def test_changed_token_ids_are_not_served(tmp_path):
    filled(tmp_path)
    changed = [[1, 2, 4], [1, 4, 4], [5, 6, 7, 8]]
    computing = Computing(changed)
    states = opened(tmp_path).get_or_compute(changed, computing)
    assert computing.n_computed == 3
    assert np.array_equal(states, np.concatenate([states_of(sequence) for sequence in changed]))


def test_an_equal_hash_does_not_serve_another_text(tmp_path, monkeypatch):
    monkeypatch.setattr(activation_cache, "hash_of", lambda token_ids: 7)
    filled(tmp_path, SEQUENCES[:1])
    cache, computing = opened(tmp_path), Computing()
    states = cache.get_or_compute(SEQUENCES, computing)
    assert computing.n_computed == 2  # the first one is served
    assert np.array_equal(states, np.concatenate([states_of(sequence) for sequence in SEQUENCES]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ActivationSource(key="b" * 64, layer=2, hidden=HIDDEN)}, "another key"),
        ({"source": ActivationSource(key="c" * 64, layer=3, hidden=HIDDEN)}, "another key and layer"),
        ({"dtype": "float16"}, "another dtype"),
    ],
)
def test_the_cache_of_another_model_is_refused(tmp_path, change, message):
    filled(tmp_path)
    with pytest.raises(BadInputError, match=f"holds activations with {message}: choose another folder"):
        opened(tmp_path, **change)


def test_a_file_of_another_model_is_refused(tmp_path):
    filled(tmp_path / "mine")
    filled(tmp_path / "other", source=ActivationSource(key="b" * 64, layer=2, hidden=HIDDEN))
    files_of(tmp_path / "other")[0].rename(tmp_path / "mine" / "moved.activations")
    with pytest.raises(BadInputError, match=r"moved.activations: these states are of another model"):
        opened(tmp_path / "mine")


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BadInputError, match="there are other files"):
        opened(tmp_path)
    with pytest.raises(BadInputError, match="expected one of float16, float32, int8"):
        opened(tmp_path / "new", dtype="float64")
    (tmp_path / "cache.json").write_text("{")
    with pytest.raises(BadInputError, match=r"cannot be read .*: remove its folder"):
        opened(tmp_path)
    for place in ("thesis.tex", "thesis.tex/cache"):
        with pytest.raises(BadInputError, match=r"thesis.tex: this is a file, expected a folder for a cache"):
            opened(tmp_path / place)


@pytest.mark.parametrize("cut", [3, 60, -1])
def test_a_cut_file_is_removed_and_computed_again(tmp_path, cut):
    filled(tmp_path)
    (path,) = files_of(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    cache, computing = opened(tmp_path), Computing()
    assert cache.counts.damaged == 1 and not path.exists() and cache.n_bytes == 0
    states = cache.get_or_compute(SEQUENCES, computing)
    assert computing.n_computed == 3
    assert np.array_equal(states, np.concatenate([states_of(sequence) for sequence in SEQUENCES]))


def test_a_damaged_file_in_a_folder_that_is_read_only_is_passed_over_with_a_warning(tmp_path, monkeypatch, caplog):
    filled(tmp_path)
    (path,) = files_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-8])

    def read_only(self, missing_ok=False):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "unlink", read_only)
    compute = Computing()
    opened(tmp_path).get_or_compute(SEQUENCES, compute)
    assert compute.n_computed == 3 and path.exists()
    assert f"{path} is damaged: what it holds is computed again" in caplog.text


def test_a_manifest_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "cache.json").write_text("[]")
    with pytest.raises(BadInputError, match=r"cannot be read \(it is no JSON object\): remove its folder"):
        opened(tmp_path)


def test_a_file_that_may_not_be_read_stays(tmp_path, monkeypatch):
    filled(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(activation_files, "_read_header", refuse)
    with pytest.raises(BadInputError, match=r"cannot be read \(Permission denied\): allow it"):
        opened(tmp_path)
    assert len(files_of(tmp_path)) == 1


@pytest.mark.parametrize("place", ["states", "token ids"])
def test_changed_bytes_are_not_served(tmp_path, place):
    filled(tmp_path)
    (path,) = files_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1 if place == "states" else 8 + int.from_bytes(content[:8], "little")] ^= 64
    path.write_bytes(content)
    cache, computing = opened(tmp_path), Computing()
    states = cache.get_or_compute(SEQUENCES, computing)
    assert np.array_equal(states, np.concatenate([states_of(sequence) for sequence in SEQUENCES]))
    assert computing.n_computed >= 1
    if place == "states":
        assert cache.counts.damaged == 1 and not path.exists()


def test_every_length_of_a_cut_header_is_noticed(tmp_path):
    filled(tmp_path)
    (path,) = files_of(tmp_path)
    whole = path.read_bytes()
    for length in range(0, 420, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(activation_files.DamagedFileError):
            activation_files.ActivationFile(path, HIDDEN * 4)


def test_the_bound_is_kept_and_does_not_change_results(tmp_path):
    sequences = [[number, number + 1, number + 2] for number in range(200)]
    unbounded = filled(tmp_path / "all", sequences, dtype="float16")
    bound = unbounded.n_bytes // 2
    cache = opened(tmp_path / "half", dtype="float16", max_bytes=bound)
    results = []
    for start in range(0, 200, 20):
        batch = sequences[start : start + 20]
        results.append(cache.get_or_compute(batch, Computing(batch)))
        cache.flush()
    written = sum(path.stat().st_size for path in files_of(tmp_path / "half"))
    assert bound / 2 < written <= bound and written == cache.n_bytes == cache.counts.bytes_written
    assert cache.counts.refused == 200 - len(cache) > 0
    expected = unbounded.get_or_compute(sequences, Computing(sequences))
    assert np.array_equal(np.concatenate(results), expected)
    reopened, computing = opened(tmp_path / "half", dtype="float16", max_bytes=bound), Computing(sequences)
    assert np.array_equal(reopened.get_or_compute(sequences, computing), expected)
    assert 0 < computing.n_computed == 200 - len(cache)
    nothing = filled(tmp_path / "nothing", sequences, dtype="float16", max_bytes=0)
    assert len(nothing) == 0 and not (tmp_path / "nothing").exists()


def test_two_writers_keep_the_bound_together(tmp_path):
    sequences = [[number, number + 1, number + 2] for number in range(40)]
    bound = int(filled(tmp_path / "all", sequences).n_bytes * 0.7)
    first, second = (opened(tmp_path / "shared", max_bytes=bound) for _ in range(2))
    first.get_or_compute(sequences[:20], Computing(sequences[:20]))
    second.get_or_compute(sequences[20:], Computing(sequences[20:]))
    first.flush()
    second.flush()
    assert (len(first), len(second), second.counts.refused) == (20, 0, 20)
    assert sum(path.stat().st_size for path in files_of(tmp_path / "shared")) <= bound


def test_two_models_do_not_write_into_one_folder(tmp_path):
    others = ActivationSource(key="b" * 64, layer=2, hidden=HIDDEN)
    first, second = opened(tmp_path / "cache"), opened(tmp_path / "cache", source=others)  # both find it empty
    for cache in (first, second):
        cache.get_or_compute(SEQUENCES, Computing())
    first.flush()
    with pytest.raises(BadInputError, match="holds activations with another key: choose another folder"):
        second.flush()
    assert len(opened(tmp_path / "cache")) == 3 and len(files_of(tmp_path / "cache")) == 1


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    filled(tmp_path, SEQUENCES[:2])
    cache = opened(tmp_path)
    cache.get_or_compute(SEQUENCES, Computing())

    def fail(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("elasticdenser.artifacts.flush_to_disk", fail)
        with pytest.raises(BuildError, match="the disk is full"):
            cache.flush()
    assert len(opened(tmp_path)) == 2 and len(files_of(tmp_path)) == 1
    cache.flush()  # nothing was lost
    assert len(opened(tmp_path)) == 3


@pytest.mark.slow
def test_a_killed_process_leaves_whole_files(tmp_path):
    code = f"""
import os
import numpy as np
from pathlib import Path
from elasticdenser import artifacts
from elasticdenser.models.activation_cache import ActivationCache
from elasticdenser.models.activation_manifest import ActivationSource

cache = ActivationCache(Path({str(tmp_path)!r}), ActivationSource(key="a" * 64, layer=2, hidden=8), max_bytes=1 << 20)
ones = lambda numbers: np.ones((2 * len(numbers), 8), np.float32)
cache.get_or_compute([[1, 2]], ones)
cache.flush()
cache.get_or_compute([[3, 4]], ones)
artifacts.replace_file = lambda *paths: os.kill(os.getpid(), 9)  # all is written, and not renamed
cache.flush()
"""
    process = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    assert process.returncode == -9
    (left,) = (path for path in tmp_path.iterdir() if path.name.endswith(".tmp"))
    assert len(opened(tmp_path, dtype="float16")) == 1 and left.exists()  # another process may be writing it
    os.utime(left, (0, 0))
    assert len(opened(tmp_path, dtype="float16")) == 1 and not left.exists()


def test_states_are_written_when_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(activation_cache, "FILE_BYTES", 200)
    cache = opened(tmp_path)
    cache.get_or_compute(SEQUENCES, Computing())
    assert len(files_of(tmp_path)) == 1 and len(opened(tmp_path)) == 3


def test_others_can_read_the_files(tmp_path):
    from safetensors.numpy import load_file

    filled(tmp_path)
    tensors = load_file(files_of(tmp_path)[0])
    assert tensors["token_ids"].tolist() == [1, 2, 3, 1, 4, 5, 6, 7, 8, 9] and tensors["lengths"].tolist() == [3, 2, 5]
    states = tensors["states"].view(np.float32)
    assert np.array_equal(states, np.concatenate([states_of(sequence) for sequence in SEQUENCES]))
    assert json.loads((tmp_path / "cache.json").read_text())["layer"] == 2


def test_numbers_that_do_not_fit_are_refused():
    large = np.full((1, HIDDEN), 1e5, np.float32)
    with pytest.raises(ModelError, match="up to 100000, expected finite numbers up to 65504"):
        encode_rows(large, "float16")
    with pytest.raises(ModelError, match="up to nan, expected finite numbers: "):
        encode_rows(large * np.float32("nan"), "int8")
    zeros = np.zeros((2, HIDDEN), np.float32)
    assert np.array_equal(decode_rows(encode_rows(zeros, "int8"), "int8"), zeros)


NAMES = [bytes([number]) * NAME_BYTES for number in (1, 2, 3)]


def named_cache(folder) -> ActivationCache:
    cache = opened(folder)
    cache.rows(SEQUENCES, Computing(), NAMES)
    return cache


def test_named_states_are_found_without_their_token_ids(tmp_path):
    written = named_cache(tmp_path / "cache")
    for _ in range(2):  # before they are on the disk, and then
        found = [written.named(name) for name in NAMES]
        for states, sequence in zip(found, SEQUENCES, strict=True):
            assert np.array_equal(decode_rows(states, "float32"), states_of(sequence))
        written.flush()
    again = opened(tmp_path / "cache")
    assert np.array_equal(decode_rows(again.named(NAMES[1]), "float32"), states_of(SEQUENCES[1]))
    assert again.named(b"9" * NAME_BYTES) is None
    assert again.counts.read == 1


def test_a_name_is_that_of_the_first_text_with_these_tokens(tmp_path):
    cache = named_cache(tmp_path / "cache")
    computing = Computing()
    cache.rows(SEQUENCES, computing, [b"9" * NAME_BYTES] * 3)
    assert computing.n_computed == 0 and cache.named(b"9" * NAME_BYTES) is None


def test_a_name_in_a_damaged_file_is_forgotten(tmp_path):
    named_cache(tmp_path / "cache").flush()
    (path,) = files_of(tmp_path / "cache")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    cache = opened(tmp_path / "cache")
    assert cache.named(NAMES[2]) is None and cache.named(NAMES[0]) is None
    assert cache.counts.damaged == 1 and not path.exists()


def test_files_with_and_without_names_stand_side_by_side(tmp_path):
    filled(tmp_path / "cache", [[7, 7]])
    named_cache(tmp_path / "cache").flush()
    cache = opened(tmp_path / "cache")
    assert len(cache) == 4 and cache.named(NAMES[0]) is not None
    assert cache.named(bytes(NAME_BYTES)) is None  # stands for no name in a file
