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
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w.-]+)["']""")


def extras() -> list[str]:
    """Return the names of the extras, in the order in which they are declared."""
    return [name for name in _requirements() if name]


def requirements_of(extra: str = "") -> list[str]:
    """Return what an extra, by default the package itself, needs, such as `fastapi>=0.115`; markers are left out."""
    return list(_requirements().get(extra, ()))


def pip_install(extra: str = "") -> str:
    """Return the command that installs the packages of an extra."""
    requirements = requirements_of(extra) or [f"{_PACKAGE}[{extra}]"]
    return " ".join(["pip install", *(f"'{requirement}'" for requirement in requirements)])


def package_name(requirement: str) -> str:
    """Return the name in a requirement: `mkdocstrings[python]>=0.29` -> `mkdocstrings`."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


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
