"""Reports: a comparison as Markdown with pictures, as one HTML page, and as rows for the terminal."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.evaluation.comparison import Comparison
from elasticdenser.reports.tables import result_rows

__all__ = ["result_rows", "write_report"]


def write_report(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write `report.md` with `pictures/*.svg`, and `report.html`, which needs no other file.

    The same comparison gives the same bytes.

    Args:
        comparison: What an evaluation found.
        folder: Where to; made if it is not there.

    Returns:
        The files written; those a reader opens come first.

    Raises:
        BuildError: The folder cannot be written to.
    """
    # Here, because these load matplotlib, which takes a second that the rows for the terminal need not.
    from elasticdenser.reports.content import document
    from elasticdenser.reports.html import render as render_html
    from elasticdenser.reports.markdown import PICTURES, picture_files
    from elasticdenser.reports.markdown import render as render_markdown
    from elasticdenser.reports.text import plain

    blocks = document(comparison)
    pictures = Path(folder) / PICTURES
    with explained_os_errors(pictures):
        pictures.mkdir(parents=True, exist_ok=True)
    files = {Path(folder) / "report.md": render_markdown(blocks)}
    files[Path(folder) / "report.html"] = render_html(blocks, title=plain(comparison.title))
    files.update({Path(folder) / name: svg for name, svg in picture_files(blocks).items()})
    # The pages last: no page of a report that broke off points to pictures of another.
    for path in reversed(files):
        with atomic_write(path) as file:
            file.write(files[path])
    return list(files)
