"""`elasticdenser serve`: an index behind HTTP, with a page to search on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, progress_bars

if TYPE_CHECKING:
    import socket

    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.retrieval.retriever import Retriever
    from elasticdenser.serving.settings import ServeSettings

_KEY = "ELASTICDENSER_API_KEY"
_SWITCH_S = 0.0005
_EXAMPLES = options.examples(
    "serve indexes/mine",
    "serve indexes/mine --port 9000 --deadline-ms 50",
    "serve indexes/mine --profile profile.json --workers 4",
    "serve indexes/mine --policy static:w0.5-d3        (always the same size)",
    "serve indexes/mine --host 0.0.0.0 --api-key-file key.txt",
    "serve indexes/mine --allowed-host search.example.org        (behind a proxy)",
)


@explained
def serve(
    index: options.IndexPath,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is for this machine only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    deadline_ms: Annotated[float, typer.Option(help="Of a query that names none, after its request comes.")] = 25.0,
    profile: Annotated[
        Path | None, typer.Option(help="What `profile` wrote. Default: levels are measured briefly first.")
    ] = None,
    policy: Annotated[str, typer.Option(help="elastic, thresholds, slackfit, static:LEVEL or aimd:LEVEL.")] = "elastic",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Batches that run at once. Default: one a CPU, and one CPU for the server."),
    ] = None,
    in_processes: options.InProcesses = None,
    max_unfinished: Annotated[int, typer.Option(min=1, help="Queries in the engine at once; more are refused.")] = 1024,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Of one request.")] = 1 << 20,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the key that clients must send. Default: the variable {_KEY}, or no key."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name that requests may give in the header Host, beside localhost and --host. Repeat it for more; "
            "'*' is any. Behind a proxy that passes on its own name (Caddy; nginx with proxy_set_header Host), give "
            "that name. Default: no other on loopback, any elsewhere.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[int, typer.Option(min=0, help="Vectors of the queries asked last that are kept.")] = 0,
    access_log: Annotated[bool, typer.Option(help="A line of JSON for each request, on stderr.")] = True,
    encoder: options.EncoderName = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
) -> None:
    """Serve an index: POST /search, OpenAI's /v1/embeddings, /metrics, and a page to search on."""
    from elasticdenser.serving import check_installed

    check_installed()
    from elasticdenser.cpus import cpu_count
    from elasticdenser.engine.processes.pool import should_use_processes
    from elasticdenser.serving.hosts import ANY_HOST, parse_allowed_hosts
    from elasticdenser.serving.server import bind_socket, is_loopback
    from elasticdenser.serving.settings import ServeSettings

    with bind_socket(host, port) as bound:
        names = allowed_host or ([] if is_loopback(bound) else [ANY_HOST])
        settings = ServeSettings(
            deadline_s=deadline_ms / 1000,
            api_key=_api_key(api_key_file),
            allowed_hosts=parse_allowed_hosts([*names, host]),
            max_body_bytes=max_body_bytes,
            encoding_threads=max(1, cpu_count() // 2),
            title=index.resolve().name,
            log=access_log,
        )
        retriever = options.open_retriever(index, encoder, device, offline, precision, cache=cache)
        levels = _levels(retriever, profile)
        n_workers = workers or max(1, cpu_count() - 1)
        processes = should_use_processes(retriever) if in_processes is None else in_processes
        limits = {"workers": n_workers, "max_unfinished": max_unfinished, "processes": processes}
        _serve(bound, retriever, levels, policy, settings, limits)


def _serve(
    bound: socket.socket,
    retriever: Retriever,
    levels: Profile,
    policy: str,
    settings: ServeSettings,
    limits: dict[str, int],
) -> None:
    from elasticdenser.engine.engine import RetrievalEngine
    from elasticdenser.serving.app import make_app
    from elasticdenser.serving.server import Server, is_loopback, url_of

    engine = RetrievalEngine(retriever, levels, policy=policy, slo_s=settings.deadline_s, **limits)  # type: ignore[arg-type]
    try:
        if settings.api_key is None and not is_loopback(bound):
            note(f"warning: whoever reaches this machine can search: give --api-key-file or set {_KEY}")
        server = Server(make_app(engine, retriever, settings), lambda: note(f"serving {url_of(bound)}"))
        # Python lets a thread run for 5 ms before another one may: far too long for a server whose deadlines are 25.
        sys.setswitchinterval(_SWITCH_S)
        server.run(sockets=[bound])
    finally:
        engine.close(1.0)


def _levels(retriever: Retriever, profile: Path | None) -> Profile:
    from elasticdenser.engine.profiling.profile import Profile

    if profile is not None:
        return Profile.load(profile)
    from elasticdenser.engine.profiling.quick import quick_profile

    with progress_bars() as progress:
        return quick_profile(retriever, progress=progress)


def _api_key(file: Path | None) -> str | None:
    """Return the key of the file or else of the environment; None without either.

    Raises:
        BadInputError: The file cannot be read, or holds none.
    """
    return os.environ.get(_KEY) or None if file is None else options.key_in(file)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(serve)
