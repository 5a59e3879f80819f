"""Stage 7, canary: how far a step is, by the readings: its days on the data clock, its outcomes, its units. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from airflow_ml.core.aliases import CHAMPION
from airflow_ml.core.arms import PAIRED_METRIC, SHADOW_STEP, paired_name
from airflow_ml.core.ports import Reading
from airflow_ml.core.rollout_plan import SHADOW, Step
from airflow_ml.core.rollout_readings import day_of, weight_of


def is_measured(readings: Mapping[str, Reading], step: Step) -> bool:
    """Whether there is an outcome of a challenger in a step."""
    return any(
        one.requests > 0 and one.variant != CHAMPION and is_in_step(one.stratum, step)
        for reading in readings.values()
        for one in reading.samples
    )


def fewest_units(readings: Mapping[str, Reading], metric: str, names: Sequence[str], step: Step) -> int:
    """Return the units with an outcome, over the days of a step, of the arm that has fewest.

    Args:
        readings: By the names they are read by.
        metric: The plan's.
        names: The challengers.
        step: Of pairs, those of each challenger count; else the champion's as well.
    """
    arms = [paired_name(arm) for arm in names] if step.kind == SHADOW else [CHAMPION, *names]
    counts = dict.fromkeys(arms, 0)
    for name, reading in readings.items():
        if name.removesuffix(PAIRED_METRIC) == metric:
            for one in reading.samples:
                if one.variant in counts and is_in_step(one.stratum, step):
                    counts[one.variant] += one.units
    return min(counts.values())


def is_in_step(stratum: str, step: Step | None) -> bool:
    """Whether a stratum is of a step; each one is of any, None."""
    if step is None:
        return True
    if step.kind == SHADOW:
        return stratum.partition("/")[0] == SHADOW_STEP
    return weight_of(stratum) == step.weight_percent


def days_since(
    mark: datetime | None, reading: Reading, readings: Mapping[str, Reading], *, step: Step | None = None
) -> float:
    """Return the data days since a watermark, or since the first traffic of a step (of any) if that came later.

    Traffic may begin long after the last outcome of the traffic before it; the days between prove nothing.
    """
    if reading.watermark_at is None:
        return 0.0
    begun = mark or reading.watermark_at
    days = [
        day
        for one in readings.values()
        for variant, strata in one.assigned.items()
        if variant != CHAMPION
        for stratum in strata
        if (day := day_of(stratum)) is not None and is_in_step(stratum, step)
    ]
    return (reading.watermark_at - max(begun, min(days, default=begun))) / timedelta(days=1)
