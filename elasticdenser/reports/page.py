"""Template of the HTML page, with its style."""

from elasticdenser.reports.palette import PAGE_COLOURS

_LIGHT, _DARK = (
    " ".join(f"--{name}: {colours[scheme]};" for name, colours in PAGE_COLOURS.items()) for scheme in (0, 1)
)

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root { {light} }
@media (prefers-color-scheme: dark) { :root { {dark} } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 5rem; max-width: 1120px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; margin: 3.2rem 0 .6rem; padding-top: 1.1rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 2rem 0 .6rem; }
h1, h2, h3, p, li, td, summary { overflow-wrap: break-word; }
p, ul { margin: .4rem 0; max-width: 80ch; }
ul { padding-left: 1.2rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
code { font: .88em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
p code, li code { background: var(--soft); padding: .1em .35em; border-radius: 4px; }
pre { background: var(--soft); padding: .9rem 1.1rem; border-radius: 6px; overflow-x: auto; }
nav ul {
  list-style: none; padding: 0; margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; max-width: none;
}
.table { overflow-x: auto; margin: 1rem 0 .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .8rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
thead th { color: var(--muted); font-size: .82rem; font-weight: 600; border-bottom: 1px solid var(--muted); }
th { vertical-align: bottom; }
td:first-child, th:first-child { padding-left: .2rem; position: sticky; left: 0; background: var(--paper); z-index: 1; }
tbody tr:hover td:first-child { background: var(--soft); }
td.text { max-width: 36rem; }
.system { display: block; position: relative; padding-left: 1.15em; width: max-content; max-width: min(15rem, 36vw); }
.number { text-align: right; white-space: nowrap; }
th.number { padding-right: 1.9rem; white-space: normal; }
.number code { white-space: nowrap; }
td small { display: block; color: var(--muted); font-size: .74rem; line-height: 1.35; padding-right: 1.1rem; }
tbody tr:hover { background: var(--soft); }
.mark { display: inline-block; width: 1.1rem; text-align: center; font-size: .72em; }
.better { color: var(--better); }
.worse { color: var(--worse); }
.dot { position: absolute; left: 0; top: .45em; width: .62em; height: .62em; border-radius: 50%; }
.notes { font-size: .85rem; color: var(--muted); margin: .3rem 0; padding-left: 1.4rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1.4rem 1.6rem; margin: .6rem 0 1.6rem; }
figure {
  margin: 0; flex: 1 1 430px; min-width: 0; display: flex; flex-direction: column; justify-content: space-between;
}
.scroll { overflow-x: auto; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .85rem; line-height: 1.45; color: var(--muted); margin-bottom: .5rem; }
figcaption strong { color: var(--ink); }
details { border-bottom: 1px solid var(--grid); padding: .45rem 0; }
summary { cursor: pointer; font-weight: 600; }
@media print { details { display: block; } body { max-width: none; } }
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
""".replace("{light}", _LIGHT).replace("{dark}", _DARK)
"""The page, with `{title}` and `{body}` to be replaced."""
