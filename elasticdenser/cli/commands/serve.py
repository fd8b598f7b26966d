"""`elasticdenser serve`: serve indexes over HTTP, with a search page."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars
from elasticdenser.cli.ranker_options import RerankedLevelsOptions
from elasticdenser.cli.ray_options import RayServingOptions
from elasticdenser.cli.serve_options import API_KEY, AccessOptions, ServedEncoderOptions, named_indexes, profiles_of

if TYPE_CHECKING:
    import socket

    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.retrieval.retriever import Retriever
    from elasticdenser.serving.settings import ServeSettings

_SWITCH_INTERVAL_S = 0.0005
"""By default a thread may run for 5 ms before another thread does: too long for deadlines of 25 ms."""

_EXAMPLES = options.examples(
    "serve indexes/mine",
    "serve indexes/mine --port 9000 --deadline-ms 50",
    "serve indexes/mine --profile profile.json --workers 4",
    "serve indexes/mine --profile profile.json --minimum-quality 0.95",
    "serve indexes/mine --rerank 50:w0.5-d3 --rerank 30:w0.25-d1        (as far as the load allows)",
    "serve indexes/mine --hybrid        (meaning and words)",
    "serve indexes/mine --policy static:w0.5-d3        (always the same level)",
    "serve indexes/mine --host 0.0.0.0 --api-key-file key.txt",
    "serve indexes/mine --write-key-file write-key.txt        (clients may add and delete passages)",
    "serve docs=indexes/docs wiki=indexes/wiki        (several indexes: /indexes/wiki/search)",
    "serve docs=indexes/docs wiki=indexes/wiki --profile wiki=profile.json --encoder wiki=models/student",
    "serve indexes/mine --allowed-host search.example.org        (behind a proxy)",
    "serve indexes/sharded --ray local --replicas 2        (a process for each replica of each shard)",
    "serve indexes/mine --cors-origin https://app.example.org        (scripts of another site)",
)


@command
def serve(
    index: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]INDEX...",
            help="Folder of an index; of several, each with a name if it is not to be that of the folder.",
            show_default=False,
        ),
    ],
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default accepts clients of this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    deadline_ms: Annotated[
        float, typer.Option(help="Deadline of a query that gives none, from the arrival of its request.")
    ] = 25.0,
    page_deadline_ms: Annotated[
        float | None,
        typer.Option(
            help="Deadline of a query that is typed on the search page: laxer, so that an idle server answers at the "
            "best level every time. Default: 500, or --deadline-ms if that is more.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Profile of the index, made by `profile`; with several indexes, repeatable as NAME=FILE. Default: "
            "measured briefly at the start.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[str, typer.Option(help="elastic, thresholds, slackfit, static:LEVEL or aimd:LEVEL.")] = "elastic",
    minimum_quality: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Answer only at levels that keep this share of the full encoder's quality for queries of the same "
            "length, unless a request says otherwise; 0: at any level. Without lengths in the profile, the same for "
            "all queries (see `profile --by-length`).",
        ),
    ] = 0.0,
    workers: options.Workers = None,
    in_processes: options.WorkerProcesses = None,
    max_unfinished: Annotated[
        int, typer.Option(min=1, help="Maximum number of queries in the engine; further ones are rejected.")
    ] = 1024,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Maximum size of a request's body.")] = 8 << 20,
    max_connections: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum number of connections. A further one replaces the one that has been idle the longest; "
            "if none is idle, its request is rejected.",
        ),
    ] = 1000,
    head_timeout_s: Annotated[
        float, typer.Option(help="Seconds that a client may take to send the head of a request.")
    ] = 10.0,
    token_ids: Annotated[
        str | None,
        typer.Option(
            help="Vocabulary of the token ids that clients send to /v1/embeddings: model (that of the encoder), or an "
            "encoding of the package tiktoken: cl100k_base is what LangChain's OpenAIEmbeddings sends. Default: model, "
            "if its special tokens tell ids of another vocabulary; else token ids are refused.",
            show_default=False,
        ),
    ] = None,
    hit_url: Annotated[
        str | None,
        typer.Option(
            help="Link of a hit on the search page: a URL in which {id} stands for its document's id. "
            "Default: ids that are URLs are links.",
            show_default=False,
        ),
    ] = None,
    hybrid: Annotated[
        bool,
        typer.Option(
            "--hybrid",
            help="Search by words too, in an index that was built with --hybrid, unless a request says otherwise.",
        ),
    ] = False,
    word_weight: options.WordWeight = None,
    cache: Annotated[int, typer.Option(min=0, help="Number of recent queries whose vectors are cached.")] = 0,
    access_log: Annotated[bool, typer.Option(help="Log each request as a line of JSON on stderr.")] = True,
    access: AccessOptions,
    reranking: RerankedLevelsOptions,
    sharding: RayServingOptions,
    encoders: ServedEncoderOptions,
) -> None:
    """Serve one index or several: POST /search, OpenAI's /v1/embeddings, /metrics, and a search page.

    Of several, each is served below /indexes/NAME, and the first one at the root too. With a write key, clients change
    indexes by POST and DELETE /passages.

    With a ranker (--ranker or --rerank) also /v1/rerank as Cohere and Jina have it, and /rerank as TEI has it.
    """
    from elasticdenser.serving import check_installed

    check_installed()
    from elasticdenser.cpus import cpu_count
    from elasticdenser.engine.batch_search import options_of_level
    from elasticdenser.engine.policies import check_policy
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.serving.hosts import ANY_HOST, parse_allowed_hosts
    from elasticdenser.serving.origins import parse_origins
    from elasticdenser.serving.server import allow_open_files, bind_socket, is_loopback
    from elasticdenser.serving.settings import ServeSettings
    from elasticdenser.serving.token_ids import load_token_reader

    check_policy(policy)
    paths = named_indexes(index)
    encodings = encoders.of_indexes(list(paths))
    profiles = {name: Profile.load(file) for name, file in profiles_of(profile or (), list(paths)).items()}
    with bind_socket(host, port) as bound, sharding.retriever_options(deadline_ms / 1000) as shard_options:
        names = access.allowed_host or ([] if is_loopback(bound) else [ANY_HOST])
        settings = ServeSettings(
            deadline_s=deadline_ms / 1000,
            page_deadline_s=(max(500.0, deadline_ms) if page_deadline_ms is None else page_deadline_ms) / 1000,
            api_key=access.api_key,
            write_key=access.write_key,
            allowed_hosts=parse_allowed_hosts([*names, host]),
            cors_origins=parse_origins(access.cors_origin or ()),
            max_body_bytes=max_body_bytes,
            token_ids=token_ids,
            hit_url=hit_url,
            max_connections=max_connections,
            head_timeout_s=head_timeout_s,
            # The other half is for searches, which must not wait for /v1/embeddings.
            encoding_threads=max(1, cpu_count() // 2),
            title=next(iter(paths.values())).resolve().name if len(paths) == 1 else None,
            log=access_log,
        )
        allow_open_files(max_connections, len(paths))
        retrievers: dict[str, Retriever] = {}
        for name, path in paths.items():
            retrievers[name] = encodings[name].open_retriever(
                path,
                cache=cache,
                hybrid=options.hybrid_of(hybrid, word_weight),
                beside=[other for at, other in retrievers.items() if encodings[at] == encodings[name]],
                **reranking.retriever_options(profiles.get(name)),
                **shard_options,
            )
            # Refused before levels are measured, which takes seconds.
            load_token_reader(token_ids, retrievers[name].encoder)
            if name not in profiles and (level := policy.partition(":")[2]):
                options_of_level(retrievers[name], level)
        served = {
            name: (retriever, profiles.get(name) or _measure_levels(retriever, reranking.rerankings))
            for name, retriever in retrievers.items()
        }
        engine_options = {
            "policy": policy,
            "minimum_quality": minimum_quality,
            "workers": sharding.n_workers(workers),
            "max_unfinished": max_unfinished,
        }
        _serve(bound, served, settings, engine_options, in_processes)


def _serve(
    bound: socket.socket,
    served: Mapping[str, tuple[Retriever, Profile]],
    settings: ServeSettings,
    engine_options: dict[str, Any],
    in_processes: bool | None,
) -> None:
    from elasticdenser.engine.engine import RetrievalEngine
    from elasticdenser.errors import ElasticDenserError
    from elasticdenser.serving.app import EngineOfIndex, make_app_of_indexes
    from elasticdenser.serving.origins import ANY_ORIGIN
    from elasticdenser.serving.server import Server, is_loopback, url_of

    with contextlib.ExitStack() as stack:
        indexes = {}
        for name, (retriever, profile) in served.items():
            processes = _uses_processes(retriever) if in_processes is None else in_processes
            engine = RetrievalEngine(
                retriever, profile, slo_s=settings.deadline_s, processes=processes, **engine_options
            )
            stack.callback(engine.close, 1.0)
            indexes[name] = EngineOfIndex(engine=engine, retriever=retriever)
        if settings.api_key is None and not is_loopback(bound):
            note(f"warning: anyone who can reach this machine can search: give --api-key-file or set {API_KEY}")
        if settings.api_key is None and ANY_ORIGIN in settings.cors_origins:
            note("warning: any web page can search through the browsers of its visitors: give an API key or origins")
        names = f" with the indexes {', '.join(served)}" if len(served) > 1 else ""
        server = Server(make_app_of_indexes(indexes, settings), lambda: note(f"serving {url_of(bound)}{names}"))
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        server.run(sockets=[bound])
        if server.failure is not None:
            raise ElasticDenserError(server.failure)


def _uses_processes(retriever: Retriever) -> bool:
    from elasticdenser.engine.processes.pool import should_use_processes

    return retriever.opener is not None and should_use_processes(retriever)


def _measure_levels(retriever: Retriever, rerankings: Sequence[str]) -> Profile:
    from elasticdenser.engine.profiling.quick import quick_profile

    with progress_bars() as progress:
        return quick_profile(retriever, rerankings=rerankings, progress=progress)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(serve)
