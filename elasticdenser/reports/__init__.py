"""Reports: a comparison as Markdown with charts, as one HTML page, and as rows for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from elasticdenser.evaluation.comparison import Comparison
    from elasticdenser.reports.tables import result_rows

__all__ = ["result_rows", "write_report"]

# The server takes its colours from this package, and needs nothing of the evaluation for them.
__getattr__ = lazy_attributes(__name__, {"result_rows": "tables"})


def write_report(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write `report.md` with `pictures/*.svg`, and `report.html`, which needs no other file.

    The same comparison gives the same bytes.

    Args:
        comparison: Results of an evaluation.
        folder: Folder for the files; created if it does not exist.

    Returns:
        The files written; the two reports come first.

    Raises:
        BuildError: The folder cannot be written to.
    """
    # Imported here: they load matplotlib, which takes a second and is not needed for the rows in the terminal.
    from elasticdenser.reports.html import render as render_html
    from elasticdenser.reports.markdown import CHART_FOLDER, chart_files
    from elasticdenser.reports.markdown import render as render_markdown
    from elasticdenser.reports.sections import report_blocks
    from elasticdenser.reports.text import plain

    blocks = report_blocks(comparison)
    charts = Path(folder) / CHART_FOLDER
    with explained_os_errors(charts):
        charts.mkdir(parents=True, exist_ok=True)
    files = {Path(folder) / "report.md": render_markdown(blocks)}
    files[Path(folder) / "report.html"] = render_html(blocks, title=plain(comparison.title))
    files.update({Path(folder) / name: svg for name, svg in chart_files(blocks).items()})
    # The reports are written last: if this is interrupted, no report refers to the charts of another.
    for path in reversed(files):
        with atomic_write(path) as file:
            file.write(files[path])
    return list(files)
