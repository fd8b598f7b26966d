"""Examples in the help of a command."""

from __future__ import annotations


def examples(*commands: str) -> str:
    """Return the epilog of a command's help: one example per line, escaped for `rich`."""
    lines = ["Examples:" if len(commands) > 1 else "Example:", *(f"elasticdenser {command}" for command in commands)]
    # Some versions of Typer join lines that have no empty one between them; rich reads square brackets as markup.
    return "\n\n".join(lines).replace("[", "\\[")
