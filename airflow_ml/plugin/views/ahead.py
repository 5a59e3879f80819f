"""Reading on behind an answer: what a request had no time for is read meanwhile, for the one after it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from airflow_ml.errors import AirflowMLError

T = TypeVar("T")


class Ahead:
    """A thread of its own for all requests, with one list of things to read at a time.

    Args:
        rest: Pauses for so many times as long as it has read, so that the API server's requests come first.
    """

    def __init__(self, *, rest: float = 0.0) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def read(self, one: Callable[[T], object], things: Sequence[T]) -> None:
        """Read things one after the other; nothing is begun while an earlier list is being read."""

        def work() -> None:
            with contextlib.suppress(AirflowMLError, OSError):  # whoever asks for that thing is told
                for thing in things:
                    began = time.monotonic()
                    one(thing)
                    if self._rest:
                        time.sleep(self._rest * (time.monotonic() - began))

        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=work, name="airflow-ml-pages", daemon=True)
                self._thread.start()
