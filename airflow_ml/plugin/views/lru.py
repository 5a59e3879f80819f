"""A small memory of one process: the newest values used, for a time, within a number of entries."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Lru(Generic[V]):
    """Values by key; what was not used longest goes first. Safe for threads. Nothing in it is ever the only copy.

    Args:
        size: Entries at most.
        clock: Seconds, for tests.
    """

    def __init__(self, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V], *, seconds: Callable[[V], float] | None = None) -> V:
        """Return the value of a key, made anew where it is unknown or older than its time.

        Args:
            key: What names the value.
            make: Makes it; two threads may make it at the same time, and the later one is kept.
            seconds: How long a value is good for; for ever by default, for what never changes.
        """
        with self._lock:
            known = self._values.get(key)
            if known is not None and (seconds is None or self._clock() - known[0] < seconds(known[1])):
                self._values.move_to_end(key)
                return known[1]
        return self.put(key, make())

    def peek(self, key: Hashable, *, seconds: Callable[[V], float] | None = None) -> V | None:
        """Return the value of a key where it is known and, where a time is given, no older than that."""
        with self._lock:
            known = self._values.get(key)
            good = known is not None and (seconds is None or self._clock() - known[0] < seconds(known[1]))
            return known[1] if known is not None and good else None

    def put(self, key: Hashable, value: V) -> V:
        """Keep a value and return it."""
        with self._lock:
            self._values[key] = (self._clock(), value)
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._values.clear()
