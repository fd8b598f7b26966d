"""Text files, plain or compressed."""

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zstd_module import zstd

from elasticdenser.datasets import files
from elasticdenser.datasets.files import bare_name, read_lines, text_suffix
from elasticdenser.errors import BadInputError


def _pack(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data)
    return zstd.compress(data) if suffix == ".zst" else data


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_lines_are_numbered_and_lose_only_their_end(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(_pack("\ufeffone\r\n\ntwo\u2028\x0c\x85\rstill two\nthrée".encode(), suffix))
    assert list(read_lines(path)) == [(1, "one"), (2, ""), (3, "two\u2028\x0c\x85\rstill two"), (4, "thrée")]


@pytest.mark.slow
@given(st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]))))
def test_any_text_comes_back(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "a.txt.zst"
    path.write_bytes(_pack("".join(line + "\n" for line in lines).encode(), ".zst"))
    assert [line for _, line in read_lines(path)] == lines


def test_several_zstd_frames_and_gzip_members_are_one_text(tmp_path):
    for suffix in (".gz", ".zst"):
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(_pack(b"one\ntw", suffix) + _pack(b"o\n", suffix))
        assert [line for _, line in read_lines(path)] == ["one", "two"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_archive_is_an_error(tmp_path, suffix, kept):
    packed = _pack("".join(f"line {n} {n * n}\n" for n in range(20_000)).encode(), suffix)
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(packed[: int(len(packed) * kept)])
    with pytest.raises(BadInputError, match=r"a\.txt\.\w+: the archive is truncated: fetch or compress it again"):
        list(read_lines(path))


@pytest.mark.parametrize(("suffix", "kind"), [(".gz", "gzip"), (".zst", "zstd")])
def test_a_file_that_is_no_archive_is_an_error(tmp_path, suffix, kind):
    path = tmp_path / f"a.txt{suffix}"
    path.write_text("plain text, not compressed at all")
    with pytest.raises(BadInputError, match=f"damaged or not a {kind} file"):
        list(read_lines(path))


def test_flipped_bytes_in_an_archive_are_an_error(tmp_path):
    for suffix in (".gz", ".zst"):
        packed = bytearray(_pack("".join(f"{n * n}\n" for n in range(20_000)).encode(), suffix))
        packed[len(packed) // 2 : len(packed) // 2 + 50] = bytes(50)
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(packed)
        with pytest.raises(BadInputError, match="the archive is"):
            list(read_lines(path))


def test_an_archive_in_disguise_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(b"x\n"))
    with pytest.raises(BadInputError, match=r"compressed file: rename it to a\.txt\.gz"):
        list(read_lines(path))


def test_bad_utf8_is_an_error_with_file_line_and_column(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\nb\xe4d\n")
    with pytest.raises(BadInputError, match=r"a\.txt:2: byte 0xe4 at column 2 is not UTF-8") as caught:
        list(read_lines(path))
    assert (caught.value.path, caught.value.line) == (path, 2)


def test_missing_files_and_folders_are_errors(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        list(read_lines(tmp_path / "absent.txt"))
    with pytest.raises(BadInputError, match="folder, expected a file"):
        list(read_lines(tmp_path))


def test_an_endless_line_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"short\n" + b"x" * 5000))
    with pytest.raises(BadInputError, match=r"a\.txt\.gz:2: the line is longer than"):
        list(read_lines(path))


def test_a_byte_order_mark_is_removed_wherever_files_were_concatenated(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\xef\xbb\xbftwo\n")
    assert list(read_lines(path)) == [(1, "one"), (2, "two")]
    path.write_bytes("one\n".encode("utf-16"))
    with pytest.raises(BadInputError, match=r"a\.txt: the file is UTF-16, expected UTF-8: convert it"):
        list(read_lines(path))


def test_an_archive_that_unpacks_to_gigabytes_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1 << 20)
    path = tmp_path / "a.txt.zst"
    with path.open("wb") as file, zstd.ZstdFile(file, "w") as archive:
        for _ in range(200):
            archive.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match=r"a\.txt\.zst:1: the line is longer than 1 MiB"):
            list(read_lines(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20


@pytest.mark.parametrize(("window_log", "is_refused"), [(27, False), (28, True), (31, True)])
def test_an_archive_that_asks_for_too_much_memory_is_an_error(tmp_path, window_log, is_refused):
    header = bytes([0, (window_log - 10) << 3])  # no content size; window
    block = (len(b"one\n") << 3 | 1).to_bytes(3, "little") + b"one\n"  # the last block, stored
    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + header + block)
    if not is_refused:
        assert list(read_lines(path)) == [(1, "one")]
        return
    with pytest.raises(BadInputError, match=r"takes more than 128 MiB of memory: decompress it first \(zstd -d"):
        list(read_lines(path))


def test_names_lose_their_suffixes():
    assert text_suffix("x/a.b.JSONL.gz") == ".jsonl"
    assert text_suffix("x/a.tsv") == ".tsv"
    assert bare_name("x/a.b.jsonl.gz") == "x/a.b"
