"""Report of a realistic comparison, written once."""

from __future__ import annotations

import pytest
from fake_comparison import realistic

from elasticdenser.reports import write_report


@pytest.fixture(scope="session")
def comparison():
    return realistic((150, 120, 43))


@pytest.fixture(scope="session")
def report(comparison, tmp_path_factory):
    """Folder of the report."""
    folder = tmp_path_factory.mktemp("report") / "made" / "here"
    write_report(comparison, folder)
    return folder
