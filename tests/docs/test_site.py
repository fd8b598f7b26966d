"""The documentation builds without a warning, and needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from ci_needs import require
from documents import CHECKOUT, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    is_installed = all(find_spec(name) for name in ("mkdocs", "material", "mkdocstrings"))
    require(is_installed, "needs pip install 'elasticdenser[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(
        command, cwd=ROOT, env={**CHECKOUT, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_it_builds_without_a_warning(site):
    assert (site / "index.html").is_file()
    assert "Retriever" in (site / "api" / "search.html").read_text(encoding="utf-8")


def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?:[^\">\s]+)", text)
        loaded += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|preconnect|icon)[^>]*href=\"?(https?:[^\">\s]+)", text)
        assert not loaded, f"{page.relative_to(site)} loads {loaded}"
