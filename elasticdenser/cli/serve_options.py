"""Options of `serve` alone: its indexes, their encoders and profiles, and who may use them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.errors import QueryError

API_KEY = "ELASTICDENSER_API_KEY"
WRITE_KEY = "ELASTICDENSER_WRITE_KEY"

_UNNAMED = "default"
"""Name of a single index whose folder has a name that no path can hold."""


@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """Options that say who may use the server."""

    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the key that clients must send. Default: the variable {API_KEY}, or no key."),
    ] = None
    write_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the key of clients that may change the indexes (POST and DELETE /passages). Default: the "
            f"variable {WRITE_KEY}, or no changes.",
            show_default=False,
        ),
    ] = None
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name that requests may give in the header Host, in addition to localhost and --host; repeatable; "
            "'*' allows any. Behind a proxy that passes on its own name (Caddy; nginx with proxy_set_header Host), "
            "give that name. Default: no other on loopback, any elsewhere.",
            show_default=False,
        ),
    ] = None
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin of web pages whose scripts may use the server, such as https://app.example.org; repeatable; "
            "'*' allows any. Default: none but the server's own page.",
            show_default=False,
        ),
    ] = None

    @property
    def api_key(self) -> str | None:
        """The key of all clients, from the file, or else from the environment; None without either.

        Raises:
            BadInputError: The file cannot be read, or holds no key.
        """
        return _key(self.api_key_file, API_KEY, "API key")

    @property
    def write_key(self) -> str | None:
        """The key of clients that may change indexes, as `api_key`."""
        return _key(self.write_key_file, WRITE_KEY, "write key")


def _key(file: Path | None, variable: str, kind: str) -> str | None:
    return os.environ.get(variable) or None if file is None else options.read_api_key(file, kind)


@dataclass(frozen=True, kw_only=True)
class ServedEncoderOptions:
    """Options that choose the query encoders of the indexes, and the way they compute."""

    encoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]ENCODER",
            help="Sentence encoder, or an elastic encoder made from it: a folder or a hub id; repeatable with the name "
            "of an index. Default: the encoder that the index names.",
            show_default=False,
        ),
    ] = None
    device: options.Device = "auto"
    precision: options.Precision = "auto"
    offline: options.Offline = False
    trust_remote_code: options.TrustRemoteCode = False

    def of_indexes(self, names: Sequence[str]) -> dict[str, options.EncoderOptions]:
        """Return the options of the encoder of each index: its own one, or else the one without a name.

        Args:
            names: Names of the indexes.

        Raises:
            QueryError: A name is unknown, or has two encoders.
        """
        encoders: dict[str | None, str] = {}
        for spelling in self.encoder or ():
            name, encoder = _split_name(spelling)
            if name is not None and (name not in names or not encoder):
                shown = ", ".join(names)
                raise QueryError(
                    f"got encoder {spelling!r}; expected an encoder, or NAME=ENCODER with the name of an index: {shown}"
                )
            if name in encoders:
                whose = "for all indexes" if name is None else f"of the index {name}"
                raise QueryError(f"got two encoders {whose}; expected one: leave one out, or give NAME=ENCODER")
            encoders[name] = encoder
        others = encoders.get(None)
        return {
            name: options.EncoderOptions(
                encoder=encoders.get(name, others),
                device=self.device,
                precision=self.precision,
                offline=self.offline,
                trust_remote_code=self.trust_remote_code,
            )
            for name in names
        }


def named_indexes(spellings: Sequence[str]) -> dict[str, Path]:
    """Return the folders of indexes by name, in their order.

    Args:
        spellings: Each is NAME=PATH, or a path alone, whose last part is then the name.

    Raises:
        QueryError: A name cannot be a part of a path, or is there twice.
    """
    from elasticdenser.serving.index_names import checked_names, is_index_name

    named = [_named(spelling) for spelling in spellings]
    if len(named) == 1 and named[0][0] is None:
        own = named[0][1].resolve().name
        return {own if is_index_name(own) else _UNNAMED: named[0][1]}
    pairs = [(path.resolve().name if name is None else name, path) for name, path in named]
    checked_names(name for name, _ in pairs)
    return dict(pairs)


def _named(spelling: str) -> tuple[str | None, Path]:
    """Return name and folder of an index; the name is None if there is none."""
    name, path = _split_name(spelling)
    if not path:
        raise QueryError(f"got {spelling!r}; expected NAME=PATH, or the path of an index")
    return name, Path(path)


def _split_name(spelling: str) -> tuple[str | None, str]:
    """Return the two parts of NAME=PATH; the name is None where there is none, as in a path that holds the sign."""
    name, equals, path = spelling.partition("=")
    return (None, spelling) if not equals or "/" in name or Path(spelling).exists() else (name, path)


def profiles_of(spellings: Sequence[str], names: Sequence[str]) -> Mapping[str, Path]:
    """Return the files of profiles by index.

    Args:
        spellings: Each is NAME=FILE, or a file alone if there is one index.
        names: Names of the indexes.

    Raises:
        QueryError: A name is missing, unknown or there twice.
    """
    files: dict[str, Path] = {}
    for spelling in spellings:
        name, equals, file = spelling.partition("=")
        if len(names) == 1 and (not equals or name != names[0]):
            name, file = names[0], spelling
        if name not in names:
            shown = ", ".join(names)
            raise QueryError(f"got profile {spelling!r}; expected NAME=FILE with the name of an index: {shown}")
        if name in files:
            raise QueryError(f"got two profiles of the index {name}; expected one: leave one out")
        files[name] = Path(file)
    return files
