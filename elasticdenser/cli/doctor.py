"""`elasticdenser doctor`: what this machine has, and what to do about each gap."""

from __future__ import annotations

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, print_table


@explained
def doctor() -> None:
    """Check Python, packages, threads, models and Java, and say what to do about each gap."""
    from elasticdenser.cli.checks import checks

    found = checks()
    rows = [["ok" if check.ok else "GAP", check.name, check.found] for check in found]
    print_table("elasticdenser doctor", ["", "what", "found"], rows)
    for check in found:
        if check.advice:
            note(f"{check.name}: {check.advice}")
    if all(check.ok for check in found):
        note("nothing that is needed is missing")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("doctor"))(doctor)
