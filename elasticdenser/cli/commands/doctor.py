"""`elasticdenser doctor`: check this machine, this installation, and an encoder."""

from __future__ import annotations

from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, print_table


@command
def doctor(
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Check this sentence encoder, too: a folder or a hub id. Says what it is and what computes it.",
            show_default=False,
        ),
    ] = None,
    offline: options.Offline = False,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Check Python, packages, threads, models and Java, with advice for each gap.

    The exit code is 1 if the named encoder cannot be used; other gaps leave it at 0.
    """
    from elasticdenser.cli.installation_checks import run_checks

    of_encoder = []
    if encoder is not None:
        from elasticdenser.cli.encoder_check import check_encoder

        of_encoder = check_encoder(encoder, download=not offline, trust_remote_code=trust_remote_code)
    checks = run_checks() + of_encoder
    rows = [["ok" if check.ok else "GAP", check.name, check.state] for check in checks]
    print_table("elasticdenser doctor", ["", "part", "state"], rows)
    for check in checks:
        if check.advice:
            note(f"{check.name.strip()}: {check.advice}")
    if all(check.ok for check in checks):
        note("nothing that is needed is missing")
    if not all(check.ok for check in of_encoder):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("doctor", "doctor --encoder intfloat/e5-small-v2"))(doctor)
