"""Collect training texts of many languages from the translations that packages bring, for label-free training.

    pip download --no-deps -d WHEELS django wagtail weblate kolibri django-cms
    python recipes/collect_translations.py OUT WHEELS [--language de --language es ...]

WHEELS is a folder of wheels, or of installed packages. Their catalogues of messages in `locale/LANGUAGE/LC_MESSAGES/`
(`*.mo` of gettext, `*.json`) hold labels, questions, errors and help, in the language of each and in English. OUT gets
`LANGUAGE.txt.gz` with a text a line, which recipes name as `queries`; by default for all languages of XQuAD (Artetxe,
Ruder and Yogatama 2020). The packages above give 2,100 (Thai) to 10,800 (Chinese) texts a language, under their own
free licences (Django, Wagtail, django CMS: BSD; Kolibri: MIT; Weblate: GPL).

Placeholders, markup and marks of shortcut keys are removed, and texts that stand among the English ones too: they were
not translated.
"""

from __future__ import annotations

import argparse
import gettext
import gzip
import html
import io
import json
import re
import struct
import sys
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from random import Random

from elasticdenser.artifacts import atomic_write

LANGUAGES = ("en", "ar", "de", "el", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")

MIN_CHARACTERS = {"th": 6, "zh": 4}
"""Characters of the shortest texts: languages without spaces need fewer for a word or two."""

MIN_CHARACTERS_ELSEWHERE = 8
MAX_CHARACTERS = 1500

_ENTITY = re.compile(r"&#?\w+;")  # not without the semicolon, as html.unescape does: `&copy` is a label with a key
_MARKUP = re.compile(r"<[^<>]*>")
_PLACEHOLDER = re.compile(r"%%|%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]|\{[^{}]*\}")
_EMPTY_QUOTES = re.compile(r"""(["'`])\s*\1|[“„‚‘«「]\s*[”“’‘»」]|\(\s*\)""")
_SHORTCUT = re.compile(r"(?<!\w)[&_](?=\w)")
_SPACE_BEFORE_MARK = re.compile(r"\s+([.,:;!?])")


def main() -> None:
    """Collect the texts of all languages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("packages", type=Path, nargs="+", help="wheels, or folders of wheels or installed packages")
    parser.add_argument("--language", action="append", help="its code, such as `de`; all languages of XQuAD by default")
    arguments = parser.parse_args()
    languages = arguments.language or LANGUAGES
    try:
        texts = texts_by_language(arguments.packages, languages)
    except (OSError, zipfile.BadZipFile) as error:
        parser.error(f"got packages that cannot be read ({error}), expected wheels or folders")
    if not any(texts.values()):
        parser.error("got packages without translations, expected files in locale/LANGUAGE/LC_MESSAGES/")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for language, lines in texts.items():
        with atomic_write(arguments.out / f"{language}.txt.gz", "wb") as file:
            file.write(gzip.compress("".join(f"{line}\n" for line in lines).encode(), compresslevel=6, mtime=0))
        lengths = sorted(map(len, lines)) or [0]
        median, ninth = lengths[len(lengths) // 2], lengths[len(lengths) * 9 // 10]
        print(f"{language}: {len(lines)} texts; characters at 50, 90 %: {median}, {ninth}", file=sys.stderr)


def texts_by_language(packages: Iterable[Path], languages: Iterable[str]) -> dict[str, list[str]]:
    """Return the distinct texts of each language in random order.

    Raises:
        OSError: A file cannot be read.
        zipfile.BadZipFile: A wheel is damaged.
    """
    texts: dict[str, set[str]] = {language: set() for language in ("en", *languages)}
    for name, content in catalogues(packages):
        language = language_of(name)
        read = messages if name.suffix == ".mo" else named_messages
        for original, translation in read(content):
            for code, text in (("en", original), (language, translation)):
                if code in texts and fits(cleaned := clean(text), code):
                    texts[code].add(cleaned)
    for language in texts.keys() - {"en"}:
        texts[language] -= texts["en"]  # what was not translated
    return {language: Random(language).sample(sorted(texts[language]), len(texts[language])) for language in languages}


def catalogues(packages: Iterable[Path]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield name and content of the catalogues in wheels, and in folders of either, in the order of their names."""
    for package in packages:
        if package.suffix == ".whl":
            with zipfile.ZipFile(package) as wheel:
                for name in sorted(wheel.namelist()):
                    if is_catalogue(PurePosixPath(name)):
                        yield PurePosixPath(name), wheel.read(name)
            continue
        if not package.is_dir():
            raise FileNotFoundError(f"{package} is neither a wheel nor a folder")
        for path in sorted(package.rglob("*")):
            if path.suffix == ".whl":
                yield from catalogues([path])
            elif is_catalogue(PurePosixPath(path.as_posix())):
                yield PurePosixPath(path.as_posix()), path.read_bytes()


def is_catalogue(name: PurePosixPath) -> bool:
    """Return whether a file holds the messages of a language."""
    return name.suffix in {".mo", ".json"} and name.parent.name == "LC_MESSAGES"


def language_of(name: PurePosixPath) -> str:
    """Return the language of a catalogue: `zh` of `locale/zh_Hans/LC_MESSAGES/django.mo`."""
    return re.split(r"[_\-@]", name.parent.parent.name)[0].lower()


def messages(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the messages of a catalogue in English and translated; none of a catalogue that is damaged.

    gettext keys a message with its plural form, and has a name for its context; the description of a catalogue has no
    message.
    """
    try:
        catalogue = gettext.GNUTranslations(io.BytesIO(content))
    except (OSError, ValueError, struct.error):
        return
    for key, translation in catalogue._catalog.items():  # type: ignore[attr-defined]
        original = key[0] if isinstance(key, tuple) else key
        original = original.rpartition("\x04")[2]  # after the context
        if original and isinstance(translation, str):
            yield original, translation


def named_messages(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the messages of a JSON object, which have names instead of originals; none of other files."""
    try:
        values = json.loads(content)
    except ValueError:
        return
    if isinstance(values, dict):
        yield from (("", text) for text in values.values() if isinstance(text, str))


def clean(text: str) -> str:
    """Return a message without markup, placeholders and marks of shortcut keys, in one line."""
    text = _MARKUP.sub(" ", _ENTITY.sub(lambda match: html.unescape(match[0]), text))
    while text != (outer := _PLACEHOLDER.sub(" ", text)):  # they may be nested
        text = outer
    text = _EMPTY_QUOTES.sub(" ", text)
    return _SPACE_BEFORE_MARK.sub(r"\1", " ".join(_SHORTCUT.sub("", text).split())).strip()


def fits(text: str, language: str) -> bool:
    """Return whether a text is long enough to mean something, not too long, and mostly letters."""
    shortest = MIN_CHARACTERS.get(language, MIN_CHARACTERS_ELSEWHERE)
    n_letters = sum(unicodedata.category(character)[0] in "LMZ" for character in text)  # marks are vowels in Hindi
    return shortest <= len(text) <= MAX_CHARACTERS and 4 * n_letters >= 3 * len(text)


if __name__ == "__main__":
    main()
