"""`elasticdenser doctor`: check this machine and this installation."""

from __future__ import annotations

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, print_table


@command
def doctor() -> None:
    """Check Python, packages, threads, models and Java, and give advice for each gap."""
    from elasticdenser.cli.installation_checks import run_checks

    checks = run_checks()
    rows = [["ok" if check.ok else "GAP", check.name, check.state] for check in checks]
    print_table("elasticdenser doctor", ["", "part", "state"], rows)
    for check in checks:
        if check.advice:
            note(f"{check.name}: {check.advice}")
    if all(check.ok for check in checks):
        note("everything that is needed is there")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("doctor"))(doctor)
