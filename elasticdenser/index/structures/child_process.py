"""Calls in a child process, for what may end its process: FAISS aborts on some arguments instead of raising errors."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import IO, Any

from elasticdenser import errors
from elasticdenser.errors import BuildError, ElasticDenserError
from elasticdenser.progress import Progress, silent

_CODE = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve({descriptor})"

_MAX_REASON = 200
"""Characters of a message of FAISS that are shown."""


def call_in_child(function: str, progress: Progress = silent, **arguments: Any) -> Any:
    """Call a function of this package in a child process, and return its result.

    Args:
        function: Module and name, such as `elasticdenser.index.structures.building:build_files`.
        progress: Called with (step, done, in all) as the function reports them.
        **arguments: Arguments that JSON can hold; the function gets a `progress` besides.

    Raises:
        ElasticDenserError: That of the function.
        BuildError: The process died.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as replies, tempfile.TemporaryFile() as log:
        code = _CODE.format(path=[str(entry) for entry in sys.path], module=__name__, descriptor=writer)
        try:
            # Not `multiprocessing`, which would run the user's script again.
            process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[writer]
            )
        finally:
            os.close(writer)
        try:
            assert process.stdin is not None
            with process.stdin as request:
                request.write(json.dumps({"function": function, "arguments": arguments}).encode())
            for reply in _parsed(replies):
                if "progress" not in reply:
                    return _result(reply)
                progress(*reply["progress"])
            raise BuildError(f"{_death(process.wait(), log)}: use --factory auto")
        finally:
            process.kill()  # it is still running only if this process was interrupted
            process.wait()


def serve(descriptor: int) -> None:
    """Answer the one request on standard input; the main function of the child process.

    Args:
        descriptor: File descriptor that the replies are written to, one line of JSON each.
    """
    with os.fdopen(descriptor, "w", encoding="utf-8") as replies:

        def send(**reply: Any) -> None:
            replies.write(json.dumps(reply) + "\n")
            replies.flush()  # fails if the parent is gone, which ends this process

        request = json.load(sys.stdin)
        module, _, name = request["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        try:
            result = function(**request["arguments"], progress=lambda *step: send(progress=step))
        except ElasticDenserError as error:
            send(error=type(error).__name__, message=str(error))
        else:
            send(result=result)


def _parsed(replies: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Yield the replies; the last line of a process that died may be incomplete."""
    for line in replies:
        if line.endswith("\n"):
            yield json.loads(line)


def _result(reply: dict[str, Any]) -> Any:
    if "error" in reply:
        raise getattr(errors, reply["error"], BuildError)(reply["message"])
    return reply["result"]


def _death(status: int, log: IO[bytes]) -> str:
    """Return how the process ended, with the last line that it wrote."""
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    reason = f" ({lines[-1][-_MAX_REASON:]})" if lines else ""
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"FAISS ended its process with {how}{reason}"
