"""Errors that a request of the engine can end with."""

from __future__ import annotations

from elasticdenser.errors import ElasticDenserError


class OverloadedError(ElasticDenserError):
    """A request was rejected because it could not be answered by its deadline.

    Args:
        message: The request, the engine's state, and the way out.
        retry_after_s: Time from now after which a new attempt is likely to succeed.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WorkerError(ElasticDenserError):
    """The batch of a request failed; the engine continues."""


class IndexReplacedError(WorkerError):
    """No further worker process can open the index, because another one is in its place."""


class EngineClosedError(ElasticDenserError):
    """The engine was closed before the request could be answered."""
