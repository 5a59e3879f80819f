"""Compare a result with the same work done again: identical, equivalent, or different and where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airflow_ml.core.record import JSON

IDENTICAL, EQUIVALENT, DIFFERENT = "identical", "equivalent", "different"
#: Relative difference of two numbers up to which they count as the same result: other CPUs and other numbers of threads
#: add floating point numbers in another order, and a change of code or data moves a result by more than that.
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How two JSON values agree."""

    #: ``identical``, ``equivalent`` (numbers differ by no more than the tolerance) or ``different``.
    verdict: str
    #: Largest relative difference of two numbers; 0 where none differ.
    largest_difference: float = 0.0
    #: Where the values differ most: keys and positions joined by dots, and both values.
    where: str = ""


def compare(recorded: JSON, again: JSON, *, tolerance: float = TOLERANCE) -> Comparison:
    """Compare two JSON values, leaf by leaf."""
    largest, where = 0.0, ""
    for path, left, right in _differences("", recorded, again):
        difference = _relative(left, right)
        if difference > largest:
            largest, where = difference, f"{path or 'result'}: {_short(left)} was recorded, {_short(right)} came here"
    verdict = IDENTICAL if not where else EQUIVALENT if largest <= tolerance else DIFFERENT
    return Comparison(verdict=verdict, largest_difference=largest, where=where)


def _differences(path: str, left: object, right: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}, key=str):
            yield from _differences(f"{path}.{key}" if path else str(key), left.get(key, _GONE), right.get(key, _GONE))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for position, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _differences(f"{path}.{position}" if path else str(position), one, other)
    elif type(left) is not type(right) or left != right:
        yield path, left, right


def _relative(left: object, right: object) -> float:
    """Return the relative difference of two numbers, infinity for anything else that differs."""
    numbers = [item for item in (left, right) if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(numbers) < 2 or not all(math.isfinite(item) for item in numbers):
        return math.inf
    if numbers[0] == numbers[1]:
        return 0.0
    return abs(numbers[0] - numbers[1]) / max(abs(numbers[0]), abs(numbers[1]))


class _Gone:
    """A key that one side does not have."""

    def __repr__(self) -> str:
        return "nothing"


_GONE = _Gone()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
