"""Web pages of the server: files of this package, which load nothing from elsewhere."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from importlib.resources import files

from fastapi.responses import HTMLResponse

from elasticdenser.reports.level_colours import level_css


@cache
def page_source(name: str) -> str:
    """Return the HTML of a page, with the colours of levels that the charts of reports have.

    Args:
        name: Name of the file in this package.
    """
    html = files("elasticdenser.serving").joinpath(name).read_text(encoding="utf-8")
    return html.replace("/* level colours */", level_css()).replace(
        "/* level colours, dark */", level_css(is_dark=True)
    )


def page_response(html: str) -> HTMLResponse:
    """Return a page, with a content security policy that allows its own script and style and no other."""
    return HTMLResponse(html, headers=_headers(html))


@cache
def _headers(html: str) -> dict[str, str]:
    sources = {}
    for tag in ("script", "style"):
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        hashes = [b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
        sources[tag] = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    policy = (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {"Cache-Control": "no-store", "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
