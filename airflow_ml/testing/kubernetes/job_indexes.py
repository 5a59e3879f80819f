"""Sets of completion indexes as Jobs write them: ``0-4,7,9-10``."""

from __future__ import annotations

from collections.abc import Iterator


class Indexes:
    """A set of numbers that grows one by one and is written as intervals."""

    def __init__(self) -> None:
        self._starts: dict[int, int] = {}  # first -> last
        self._ends: dict[int, int] = {}  # last -> first
        self._members: set[int] = set()

    def add(self, index: int) -> None:
        """Add a number."""
        if index in self._members:
            return
        self._members.add(index)
        first = self._ends.pop(index - 1, index)
        last = self._starts.pop(index + 1, index)
        self._starts[first] = last
        self._ends[last] = first

    def __contains__(self, index: int) -> bool:
        return index in self._members

    def __len__(self) -> int:
        return len(self._members)

    def __str__(self) -> str:
        return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in sorted(self._starts.items()))


def read_indexes(text: str) -> Iterator[int]:
    """Yield the numbers of the written form.

    Raises:
        ValueError.
    """
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
