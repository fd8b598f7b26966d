"""Texts of many languages from the catalogues of packages."""

from __future__ import annotations

import gzip
import json
import struct
import sys
import zipfile
from pathlib import Path

import collect_translations
import pytest
from recipe_scripts import RECIPES  # noqa: F401, puts the scripts on the path


def catalogue(translations: dict[str, str]) -> bytes:
    """Return the content of a .mo file: keys and translations in the order of the keys (GNU gettext manual)."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **translations}.items())
    keys, values = ([text.encode() for text in texts] for texts in zip(*pairs, strict=True))
    table, start = b"", 28 + 16 * len(pairs)
    content = b""
    for texts in (keys, values):
        for text in texts:
            table += struct.pack("<II", len(text), start + len(content))
            content += text + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0) + table + content


@pytest.fixture
def wheels(tmp_path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    german = {
        "Delete this page": "Diese Seite löschen",
        "menu\x04Delete &all of %(n)d {kinds}.": "Alle %(n)d {kinds} &löschen.",
        "Repository": "Repository",
        "OK": "Gut",
    }
    with zipfile.ZipFile(folder / "a-1.whl", "w") as wheel:
        wheel.writestr("a/locale/de_AT/LC_MESSAGES/a.mo", catalogue(german))
        wheel.writestr("a/locale/hi/LC_MESSAGES/a.mo", catalogue({"Delete this page": "यह पृष्ठ हटाएं"}))
        wheel.writestr("a/locale/de/LC_MESSAGES/b.json", json.dumps({"open": "<b>Noch eine</b> Seite öffnen", "n": 3}))
        wheel.writestr("a/locale/de/LC_MESSAGES/damaged.mo", b"\xde\x12\x04\x95")
        wheel.writestr("a/locale/de/LC_MESSAGES/damaged.json", b"{")
        wheel.writestr("a/locale/fr/LC_MESSAGES/a.mo", catalogue({"Delete this page": "Supprimer la page"}))
    return folder


def run_main(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["collect_translations.py", *map(str, arguments)])
    collect_translations.main()


def lines_of(path: Path) -> list[str]:
    return sorted(gzip.decompress(path.read_bytes()).decode().splitlines())


def test_each_language_gets_its_translations_and_english_the_originals(wheels, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run_main(monkeypatch, out, wheels, "--language", "de", "--language", "hi", "--language", "en")
    assert {path.name for path in out.iterdir()} == {"de.txt.gz", "hi.txt.gz", "en.txt.gz"}
    assert lines_of(out / "de.txt.gz") == ["Alle löschen.", "Diese Seite löschen", "Noch eine Seite öffnen"]
    assert lines_of(out / "hi.txt.gz") == ["यह पृष्ठ हटाएं"]
    assert lines_of(out / "en.txt.gz") == ["Delete all of.", "Delete this page", "Repository"]
    assert "de: 3 texts" in capsys.readouterr().err


def test_unpacked_packages_give_the_same_texts(wheels, tmp_path, monkeypatch):
    with zipfile.ZipFile(wheels / "a-1.whl") as wheel:
        wheel.extractall(tmp_path / "installed")
    run_main(monkeypatch, tmp_path / "a", wheels / "a-1.whl")
    run_main(monkeypatch, tmp_path / "b", tmp_path / "installed")
    for language in collect_translations.LANGUAGES:
        name = f"{language}.txt.gz"
        assert lines_of(tmp_path / "a" / name) == lines_of(tmp_path / "b" / name)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Save %(name)s as &copy", "Save as copy"),
        ("{count, plural, one {# file} other {# files}} &amp; more", "& more"),
        ("Move “%s” to the <a href='/x'>bin</a>?", "Move to the bin?"),
        ("snake_case stays", "snake_case stays"),
    ],
)
def test_placeholders_markup_and_marks_of_keys_are_removed(text, cleaned):
    assert collect_translations.clean(text) == cleaned


def test_packages_without_translations_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        run_main(monkeypatch, tmp_path / "out", tmp_path / "empty")
    assert "packages without translations" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_main(monkeypatch, tmp_path / "out", tmp_path / "missing")
    assert "cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
