"""Stage 7, canary: whether what was read at a look can be true, and can be compared. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.core.arms import PAIRED_METRIC
from airflow_ml.core.ports import Reading
from airflow_ml.core.rollout_plan import BY_REQUEST, PAIRED_SHADOW, SAME, RolloutPlan
from airflow_ml.core.rollout_readings import day_of, weight_of
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.core.sample_ratio import SampleRatio, sample_ratio
from airflow_ml.core.statistics import MOST_DESIGN_EFFECT, as_requests, check, design_effect, effect_of

#: Units that change arms at one weight before it counts: a few keys are always odd, a hundredth is a fault.
LEAST_CROSSED, MOST_CROSSED_SHARE = 10, 0.01


def compared_arms(state: RolloutState) -> tuple[str, ...]:
    """Return the arms that are still compared; the champion against itself is one."""
    if state.kind == SAME:
        return (CHALLENGER,)
    return (state.chosen,) if state.chosen else tuple(arm for arm in state.challengers if arm not in state.stopped)


def why_void(plan: RolloutPlan, reading: Reading, ratio: SampleRatio) -> str:
    """Say why nothing of what was measured can be compared; empty if it can.

    The split is not the one that was set, units change arms, or requests are not independent though the plan takes
    them so.
    """
    if ratio.mismatch:
        stratum = str(ratio.stratum)
        where = f"in stratum {stratum}" if day_of(stratum) else f"over all days at {stratum.partition('/')[0]} %"
        return f"invalid: the split of units {where} is not the one that was set, so the arms cannot be compared"
    if len(reading.crossed) == 2 and reading.crossed[0] >= max(LEAST_CROSSED, MOST_CROSSED_SHARE * reading.crossed[1]):
        return (
            f"invalid: {reading.crossed[0]} of {reading.crossed[1]} units were answered by two arms at one weight, so "
            "what became of them belongs to neither"
        )
    found = _design_effect(reading) if plan.cluster == BY_REQUEST and plan.divides else None
    if found is None or found <= MOST_DESIGN_EFFECT:
        return ""
    return (
        f"invalid: requests of one unit are alike, design effect {found:.2f} above {MOST_DESIGN_EFFECT:g}, and the "
        "plan takes them as independent"
    )


def _design_effect(reading: Reading) -> float | None:
    """Return the larger of two estimates: units within strata, and units that return, where the source gives it."""
    found = design_effect(reading.samples)
    if found is None or CHALLENGER not in reading.unit_squares:
        return found
    squares = reading.unit_squares
    clustered = effect_of(reading.samples, champion=CHAMPION, challenger=CHALLENGER, unit_squares=squares)
    independent = effect_of(as_requests(reading.samples), champion=CHAMPION, challenger=CHALLENGER)
    if clustered is None or independent is None or independent.variance <= 0:
        return found
    return max(found, clustered.variance / independent.variance)


def in_time(strata: Iterable[str], plan: RolloutPlan) -> list[str]:
    """Return strata in the order in which they came to be, so that a new one never changes the number of another, by
    which its share of alpha is set: by day, by epoch, and within a day by the plan's steps."""
    steps = [step.weight_percent for step in plan.steps]

    def key(name: str) -> tuple[str, int, int, float]:
        day, _, epoch = name.partition("/")[2].partition("/")
        weight = weight_of(name)
        step = steps.index(weight) if weight in steps else len(steps)
        return day, int(epoch) if epoch.isdecimal() else 0, step, weight or 0.0

    return sorted(strata, key=key)


def sample_ratio_of(plan: RolloutPlan, state: RolloutState, reading: Reading) -> SampleRatio:
    """Test whether every arm got the units that its weight promised: in each stratum, and in all of a weight.

    A day of few units shows a gross fault only. A unit is assigned once for a whole rollout, so the units of a weight,
    each counted once, are one sample however often they return: it grows until a tenth that is missing shows. Each of
    the two has half of the plan's chance of a false alarm.
    """
    alone = state.kind == SAME or (state.chosen and plan.design == PAIRED_SHADOW)
    arms = (CHALLENGER,) if alone else tuple(state.challengers)
    alpha = plan.sample_ratio_alpha / 2
    found = [
        sample_ratio(counted, _shares(counted, plan), champion=CHAMPION, challengers=arms, alpha=alpha)
        for counted in (reading.assigned, reading.assigned_in_all)
    ]
    return max(found, key=lambda one: one.excess)


def _shares(counted: Mapping[str, Mapping[str, int]], plan: RolloutPlan) -> dict[str, float]:
    """Return each challenger's share in the strata with a split, oldest first."""
    strata = {stratum for by_stratum in counted.values() for stratum in by_stratum}
    weights = {stratum: weight_of(stratum) for stratum in in_time(strata, plan)}
    return {stratum: weight / 100 for stratum, weight in weights.items() if weight is not None and 0 < weight < 100}


def why_impossible(plan: RolloutPlan, state: RolloutState, readings: Mapping[str, Reading]) -> str:
    """Say why a reading cannot be true, or is not there; empty if all can. Dry runs do not count."""
    for name in (name for name in plan.reads if name not in plan.dry_reads):
        guarded = name.removesuffix(PAIRED_METRIC) != plan.metric
        which = f"Guardrail {name}: the metric" if guarded else "The metric"
        reading = readings.get(name)
        if reading is None:
            return f"{'Guardrail ' if guarded else ''}{name}: it was not read"
        try:
            check([one for one in reading.samples if not one.slice_name])
            effects = [
                effect_of(reading.samples, champion=CHAMPION, challenger=arm, unit_squares=reading.unit_squares)
                for arm in compared_arms(state)
                if not name.endswith(PAIRED_METRIC)
            ]
        except ValueError as error:
            return f"{which}'s sums cannot be true: {error}"
        except OverflowError as error:
            return f"{which}'s sums are too large: {error}"
        for effect in effects:
            if effect is not None and not (math.isfinite(effect.difference) and math.isfinite(effect.variance)):
                return f"The effect is not a finite number: {effect.difference}"
        if state.watermark_at is not None and (
            reading.watermark_at is None or reading.watermark_at < state.watermark_at
        ):
            return f"The watermark went back from {state.watermark_at} to {reading.watermark_at}"
    return ""
