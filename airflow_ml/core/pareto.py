"""Which points of several objectives no other point beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_ml.core.direction import MINIMIZE

Point = tuple[float, ...]


def signed(metrics: Mapping[str, float], objectives: Mapping[str, str]) -> Point:
    """Return a trial's objectives as numbers of which less is better."""
    return tuple(
        float(metrics[name]) * (1.0 if direction == MINIMIZE else -1.0) for name, direction in objectives.items()
    )


def front(points: Iterable[Point]) -> set[Point]:
    """Return the points that no other one equals or beats in every objective (less is better)."""
    kept: list[Point] = []
    for point in sorted(set(points)):  # one that beats another comes before it
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in kept):
            kept.append(point)
    return set(kept)
