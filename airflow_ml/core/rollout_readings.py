"""Stage 7, canary: the names of strata, and the readings of one rollout under several epochs of its router."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.rollout_plan import SAME


def weight_of(stratum: str) -> float | None:
    """Return the weight that a stratum ``<weight percent>/<data day>`` was made with; None for another name."""
    try:
        weight = float(stratum.partition("/")[0])
    except ValueError:
        return None
    return weight if math.isfinite(weight) else None


def day_of(stratum: str) -> datetime | None:
    """Return the data day of a stratum; None for another name."""
    try:
        return datetime.fromisoformat(stratum.split("/")[1]).replace(tzinfo=UTC)
    except (ValueError, IndexError):
        return None


def merged(readings: Sequence[tuple[int, Reading]]) -> Reading:
    """Return what was read under several epochs of one rollout, oldest first, as one reading.

    A day that both epochs saw has two strata, ``25/2013-05-02`` and ``25/2013-05-02/7``: traffic stood still between
    them, so they are two comparisons.

    Raises:
        ValueError: there is none.
    """
    if not readings:
        raise ValueError("No reading to merge")
    if len(readings) == 1:
        return readings[0][1]
    samples: list[Sample] = []
    assigned: dict[str, dict[str, int]] = {}
    in_all: dict[str, dict[str, int]] = {}
    for number, (epoch, reading) in enumerate(readings):
        suffix = f"/{epoch}" if number else ""
        samples += [replace(one, stratum=one.stratum + suffix) for one in reading.samples]
        for variant, strata in reading.assigned.items():
            _add(assigned.setdefault(variant, {}), strata, suffix)
        for variant, weights in reading.assigned_in_all.items():
            _add(in_all.setdefault(variant, {}), weights, suffix)
    squares: dict[str, float] = {}
    for _, reading in readings:
        for challenger, value in reading.unit_squares.items():
            squares[challenger] = squares.get(challenger, 0.0) + value
    marks = [reading.watermark_at for _, reading in readings if reading.watermark_at is not None]
    counts = [reading.crossed for _, reading in readings if reading.crossed]
    return Reading(
        samples=tuple(samples),
        watermark_at=max(marks, default=None),
        assigned=assigned,
        unit_squares=squares,
        crossed=tuple(map(sum, zip(*counts, strict=True))),
        assigned_in_all=in_all,
    )


def without_samples(reading: Reading) -> Reading:
    """Return only when a reading's traffic was, as that of the champion against itself, and how far it is known."""
    days = {
        f"{SAME}/{stratum.split('/')[1]}": units
        for strata in reading.assigned.values()
        for stratum, units in strata.items()
        if day_of(stratum) is not None
    }
    return Reading(samples=(), watermark_at=reading.watermark_at, assigned={SAME: days} if days else {})


def _add(to: dict[str, int], strata: Mapping[str, int], suffix: str) -> None:
    for stratum, units in strata.items():
        to[stratum + suffix] = units
