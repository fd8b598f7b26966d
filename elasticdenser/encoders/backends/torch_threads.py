"""Number of threads of torch, which is a setting of the whole process."""

from __future__ import annotations

from contextlib import AbstractContextManager
from threading import Lock

import torch


class _OneTorchThread(AbstractContextManager[None]):
    """Context that sets torch to one thread, which applies to the whole process; the last user to leave restores it."""

    def __init__(self) -> None:
        self._lock, self._n_users, self._before = Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._n_users += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._n_users -= 1
            if not self._n_users:
                torch.set_num_threads(self._before)


one_torch_thread = _OneTorchThread()
"""The one context, which all encoders of the process share."""
