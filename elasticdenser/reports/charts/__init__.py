"""Charts of reports, profiles and loads, drawn by matplotlib as SVG in one style."""

from elasticdenser.lazy_imports import check_installed

check_installed("a chart", "eval", "matplotlib", "scipy")
