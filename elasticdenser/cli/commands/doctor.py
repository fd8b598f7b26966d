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
    """Check Python, packages, threads, models and Java, with advice for each gap."""
    from elasticdenser.cli.installation_checks import run_checks

    checks = run_checks()
    if encoder is not None:
        from elasticdenser.cli.encoder_check import check_encoder

        checks += check_encoder(encoder, download=not offline, trust_remote_code=trust_remote_code)
    rows = [["ok" if check.ok else "GAP", check.name, check.state] for check in checks]
    print_table("elasticdenser doctor", ["", "part", "state"], rows)
    for check in checks:
        if check.advice:
            note(f"{check.name.strip()}: {check.advice}")
    if all(check.ok for check in checks):
        note("nothing that is needed is missing")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("doctor", "doctor --encoder intfloat/e5-small-v2"))(doctor)
