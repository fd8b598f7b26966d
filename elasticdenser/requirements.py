"""Packages that this one needs, and those of its extras, for messages that say what to install.

A message names the packages themselves rather than `elasticdenser[EXTRA]`: they are on every package index, while this
package may have been installed from a folder or a wheel.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

_PACKAGE = "elasticdenser"
_GROUP = re.compile(rf"{_PACKAGE}\[([\w,.-]+)\]")
"""Requirement of an extra that is made of other extras."""

_EXTRA = re.compile(r"""extra\s*==\s*["']([\w.-]+)["']""")


def extras() -> list[str]:
    """Return the names of the extras in the order in which they are declared, without those made of other extras."""
    return [name for name, lines in _requirements().items() if name and not any(map(_GROUP.match, lines))]


def requirements_of(extra: str = "") -> list[str]:
    """Return what an extra, by default the package itself, needs, such as `fastapi>=0.115`; markers are left out."""
    found: dict[str, None] = {}
    for line in _requirements().get(extra, ()):
        group = _GROUP.match(line)
        parts = [line] if group is None else [part for name in group[1].split(",") for part in requirements_of(name)]
        found.update(dict.fromkeys(parts))
    return list(found)


def extra_of(package: str) -> str | None:
    """Return the first extra that needs a package; None if the package itself needs it, or nothing does."""
    name = _normalised(package)
    for extra in ("", *extras()):
        if any(_normalised(package_name(requirement)) == name for requirement in requirements_of(extra)):
            return extra or None
    return None


def pip_install(extra: str = "") -> str:
    """Return the command that installs the packages of an extra."""
    requirements = requirements_of(extra) or [f"{_PACKAGE}[{extra}]"]
    return " ".join(["pip install", *(f"'{requirement}'" for requirement in requirements)])


def package_name(requirement: str) -> str:
    """Return the name in a requirement: `mkdocstrings[python]>=0.29` -> `mkdocstrings`."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _requirements() -> dict[str, list[str]]:
    """Return extra -> requirements; those of the package itself are under the empty string."""
    try:
        lines = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return _from_pyproject(Path(__file__).parents[1] / "pyproject.toml")
    found: dict[str, list[str]] = {"": []}
    for line in lines:
        requirement, _, marker = line.partition(";")
        extra = _EXTRA.search(marker)
        found.setdefault(extra[1] if extra else "", []).append(requirement.strip())
    return found


def _from_pyproject(path: Path) -> dict[str, list[str]]:
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return {}
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [line.partition(";")[0].strip() for line in lines] for extra, lines in groups.items()}
