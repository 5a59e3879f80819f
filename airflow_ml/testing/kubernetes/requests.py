"""How many requests of each kind came: what a benchmark of a client needs."""

from __future__ import annotations

import fnmatch
import threading
from collections import Counter


class RequestCount:
    """Counts by verb and resource; safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, verb: str, resource: str) -> None:
        """Count one request."""
        with self._lock:
            self._counts[verb, resource] += 1

    def count(self, verb: str = "*", resource: str = "*") -> int:
        """Return the number of requests; both are shell patterns."""
        with self._lock:
            return sum(
                number
                for (one, what), number in self._counts.items()
                if fnmatch.fnmatchcase(one, verb) and fnmatch.fnmatchcase(what, resource)
            )

    def reset(self) -> None:
        """Begin at 0 again."""
        with self._lock:
            self._counts.clear()

    def to_dict(self) -> dict[str, int]:
        """Return ``{"create jobs": 1, ...}``, the most frequent first."""
        with self._lock:
            return {f"{verb} {resource}": number for (verb, resource), number in self._counts.most_common()}
