"""Why a request gets no answer."""

from __future__ import annotations

from elasticdenser.errors import ElasticDenserError


class OverloadedError(ElasticDenserError):
    """A request was turned away: it could not be answered by its deadline.

    Args:
        message: What was asked for, what the engine can do, and the way out.
        retry_after_s: When trying again is likely to succeed, in seconds from now.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WorkerError(ElasticDenserError):
    """The batch that a request was in has failed; the engine goes on."""


class EngineClosedError(ElasticDenserError):
    """The engine was closed before the request could be answered."""
