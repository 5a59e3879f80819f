"""Caches answers until something has changed: many triggers ask for the same things for days."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

#: A triggerer lives for months: the oldest are forgotten.
MOST_KEPT = 4096


class KeptAnswers(Generic[Answer]):
    """Remembers the newest answer about each of many things; threads may share it, and at worst ask twice.

    Args:
        most: Things that are remembered.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: dict[str, tuple[object, Answer]] = {}

    def get(self, about: str, state: object, ask: Callable[[], Answer]) -> Answer:
        """Return the answer about a thing.

        Args:
            about: The thing.
            state: As long as it is equal the answer is the same.
            ask: Called where nothing is known of this state.
        """
        kept = self._kept.get(about)
        if kept is not None and kept[0] == state:
            return kept[1]
        answer = ask()
        while len(self._kept) >= self._most:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[about] = (state, answer)
        return answer
