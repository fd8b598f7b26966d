"""Charts of reports, profiles and loads, drawn by matplotlib as SVG in one style."""
