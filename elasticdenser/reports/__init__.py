"""Reports: a comparison as Markdown with charts, as one HTML page, and as rows for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from elasticdenser.evaluation.comparison import Comparison
    from elasticdenser.reports.blocks import Block
    from elasticdenser.reports.tables import result_rows

__all__ = ["result_rows", "write_blocks", "write_report"]

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
    from elasticdenser.reports.sections import report_blocks

    return write_blocks(report_blocks(comparison), comparison.title, folder)


def write_blocks(blocks: Sequence[Block], title: str, folder: str | Path) -> list[Path]:
    """Write the blocks of a report as `report.md` with `pictures/*.svg`, and as `report.html`.

    Args:
        blocks: The blocks.
        title: Title of the HTML page.
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
    from elasticdenser.reports.text import plain

    charts = Path(folder) / CHART_FOLDER
    with explained_os_errors(charts):
        charts.mkdir(parents=True, exist_ok=True)
    files = {Path(folder) / "report.md": render_markdown(blocks)}
    files[Path(folder) / "report.html"] = render_html(blocks, title=plain(title))
    files.update({Path(folder) / name: svg for name, svg in chart_files(blocks).items()})
    # The reports are written last: if this is interrupted, no report refers to the charts of another.
    for path in reversed(files):
        with atomic_write(path) as file:
            file.write(files[path])
    return list(files)
