"""Points of a search space: sampled by seed, or all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_ml.core.fingerprint import canonical_json, unit_interval
from airflow_ml.core.record import JSON
from airflow_ml.core.space import Space, When, dependence_order, parse_space
from airflow_ml.errors import InvalidSpace


def existing(space: Space, params: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return those of the parameters that exist beside the others, sorted by name."""
    kept: dict[str, JSON] = {}
    for name in dependence_order(space):
        item = space[name]
        if name in params and (not isinstance(item, When) or item.holds(kept)):
            kept[name] = params[name]
    return {name: kept[name] for name in space if name in kept}


def sample(space: Mapping[str, Any], *seed_parts: str) -> dict[str, JSON]:
    """Return one point of a space, a pure function of the space and the seed parts.

    Each parameter is drawn by its own name, so adding one leaves the others as they were.
    """
    parsed = parse_space(space)
    return existing(parsed, draw(parsed, *seed_parts))


def draw(space: Space, *seed_parts: str) -> dict[str, JSON]:
    """Return a value of every parameter of a parsed space, whether it exists beside the others or not."""
    return {name: item.at(unit_interval(*seed_parts, name)) for name, item in space.items()}


def grid(space: Mapping[str, Any]) -> Iterator[dict[str, JSON]]:
    """Yield every point of a finite space, the last name (alphabetically) varying fastest.

    Raises:
        InvalidSpace: a parameter with a continuum of values.
    """
    parsed = parse_space(space)
    axes: list[list[JSON]] = []
    for name, item in parsed.items():
        points = item.points()
        if points is None:
            raise InvalidSpace(
                f"A grid needs finitely many values of {name!r}", repr(item), "Use Choice(...), or the random sampler."
            )
        axes.append(points)
    every: Iterator[dict[str, JSON]] = (dict(zip(parsed, values, strict=True)) for values in itertools.product(*axes))
    if not any(isinstance(item, When) for item in parsed.values()):
        return every
    return iter({canonical_json(one): one for one in (existing(parsed, point) for point in every)}.values())
