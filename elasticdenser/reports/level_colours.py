"""Colours of levels, which are the same in every chart and on the search page: from dark (best) to bright (fastest)."""

from __future__ import annotations

LEVEL_COLOURS = {
    "best": ("#17498a", "#4a7fd6"),
    "middle": ("#2a9d8f", "#3fb8a5"),
    "fastest": ("#f2b134", "#f5c04f"),
}
"""Name -> colour in the light and in the dark colour scheme. The levels between them get mixtures."""


def level_colour(position: int, n_levels: int, *, is_dark: bool = False) -> str:
    """Return the colour of a level as `#rrggbb`.

    The colours of `LEVEL_COLOURS` are mixed linearly in sRGB, as `color-mix(in srgb, ...)` of CSS does. A page that
    has the variables of `level_css` thus makes the same colours.

    Args:
        position: Position of the level among all levels of the profile, 0 for the best.
        n_levels: Number of levels of the profile.
        is_dark: Whether the colour is for the dark colour scheme.

    Raises:
        ValueError: There is no level at this position.
    """
    if not 0 <= position < n_levels:
        raise ValueError(f"got position {position} among {n_levels} levels, expected one from 0 to {n_levels - 1}")
    colours = [_channels(pair[is_dark]) for pair in LEVEL_COLOURS.values()]
    place = (len(colours) - 1) * position / max(1, n_levels - 1)
    before = min(int(place), len(colours) - 2)
    share = place - before
    mixed = ((1 - share) * a + share * b for a, b in zip(colours[before], colours[before + 1], strict=True))
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed)


def level_css(*, is_dark: bool = False) -> str:
    """Return the declarations of the CSS variables `--level-best`, `--level-middle` and `--level-fastest`."""
    return " ".join(f"--level-{name}: {pair[is_dark]};" for name, pair in LEVEL_COLOURS.items())


def _channels(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue, from 0 to 255, of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
