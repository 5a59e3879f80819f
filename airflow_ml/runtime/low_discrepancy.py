"""Points of a low-discrepancy sequence: they fill a search space more evenly than random ones.

Sobol' and Halton sequences of scipy, scrambled by the seed (Owen 1998): the first n points of a longer plan are the
plan of n points.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from airflow_ml.core.fingerprint import seed_of
from airflow_ml.core.record import JSON
from airflow_ml.core.sampler import SOBOL
from airflow_ml.core.space import Space
from airflow_ml.errors import MissingDependency


def spread_points(
    space: Space, sampler: str, *, groups: Sequence[str], count: int, seed: int
) -> dict[str, list[dict[str, JSON]]]:
    """Return ``count`` points for each group, each group with its own scrambling.

    Args:
        space: The search space.
        sampler: ``sobol`` or ``halton``.
        groups: Names of the groups.
        count: Points of one group.
        seed: Of the whole sweep.

    Raises:
        MissingDependency: scipy is not installed.
    """
    if find_spec("scipy") is None:
        raise MissingDependency(f"The sampler {sampler!r} needs a package", "scipy", "Install scipy.")
    qmc: Any = importlib.import_module("scipy.stats.qmc")
    kind = qmc.Sobol if sampler == SOBOL else qmc.Halton
    found = {}
    for group in groups:
        sequence = kind(d=len(space), scramble=True, rng=seed_of("sequence", sampler, str(seed), group))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a number of points that is not a power of two is less balanced, no more
            units = sequence.random(count)
        found[group] = [
            {name: item.at(float(unit)) for (name, item), unit in zip(space.items(), row, strict=True)} for row in units
        ]
    return found
