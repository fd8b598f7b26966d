"""Listener that is notified when the engine delivers answers."""

from __future__ import annotations


class DeliveryListener:
    """Receives events about deliveries; inherit from it and override the events of interest.

    The events come in the threads of the engine, from several at once. They must be fast, and must not raise. The
    callbacks of the futures run between the two events of a delivery, in the same thread.
    """

    def batch_finished(self, finished_s: float) -> None:
        """Handle that this thread is about to deliver the answers of a batch.

        Args:
            finished_s: Time at which the batch finished, on the engine's clock.
        """

    def delivered(self) -> None:
        """Handle that this thread has delivered the answers or errors of a batch, or the errors of shed requests."""
