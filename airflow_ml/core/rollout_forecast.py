"""Stage 7, canary: before a rollout starts, what its plan can show at the traffic that was observed, and when."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

from airflow_ml.core.mixture import one_sided_boundary, planned_tau, two_sided_boundary
from airflow_ml.core.ports import Reading
from airflow_ml.core.rollout_plan import BY_REQUEST, NON_INFERIORITY, SPLIT, RolloutPlan
from airflow_ml.core.statistics import MIN_STRATUM_UNITS, MOST_DESIGN_EFFECT, mean_of

#: Chance of finding a difference that "is shown": what the forecast names, and below which a plan is refused.
POWER, LEAST_POWER = 0.95, 0.5
#: The forecast's resolution in data days: an hour, in long plans a thousandth of the whole.
_HOUR, _PIECES = 1 / 24, 1000
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTraffic:
    """A model's requests on whole data days, whichever variant answered."""

    days: int
    units_per_day: float
    #: With a known outcome.
    requests_per_day: float
    #: Standard deviation of the metric per request, clustering by unit included.
    sigma: float
    #: The variance with clustering over that of as many independent requests; None where the source does not tell.
    design_effect: float | None
    #: Whether no unit had two requests on one day; or the source sees no units.
    single: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a plan can show at some traffic."""

    observed: ObservedTraffic
    #: Data days until both arms have ``min_units``; None if never.
    enough_units_days: float | None
    #: The smallest difference that is shown with probability 95 % before ``max_data_days``.
    detectable: float
    #: The plan's margin or expected effect, the data days until it is shown with probability 95 %, and the requests in
    #: them; None where there is no such goal, or it is never.
    goal: float | None
    goal_days: float | None
    goal_requests: float | None
    #: Why the plan can never end with a decision; empty if it can.
    problem: str

    def sentences(self, metric: str) -> list[str]:
        """Return the forecast in words, one fact each."""
        seen = self.observed
        said = [
            f"Observed on {seen.days} whole data days: {seen.units_per_day:.0f} units and {seen.requests_per_day:.0f} "
            f"requests with an outcome a day, standard deviation of {metric} {seen.sigma:.4g}"
        ]
        if seen.design_effect is None:
            said.append("The source gives no sum of squares over requests: the design effect cannot be estimated")
        elif seen.single:
            said.append("Each request is a unit of its own: right only where no unit sends several")
        else:
            said.append(f"Requests of one unit are alike: design effect {seen.design_effect:.2f}")
        if self.enough_units_days is not None:
            said.append(f"Enough units of each arm after about {self.enough_units_days:.1f} data days")
        said.append(f"A difference of {self.detectable:.3g} is shown with probability {POWER:.0%} before the end")
        if self.goal is not None and self.goal_days is not None and self.goal_requests is not None:
            said.append(
                f"The planned {self.goal:g} takes about {self.goal_days:.1f} data days, "
                f"{self.goal_requests:.0f} requests"
            )
        elif self.goal is not None:
            said.append(f"The planned {self.goal:g} is shown with less than {POWER:.0%}")
        return said


def observe(reading: Reading) -> ObservedTraffic | None:
    """Return the traffic of the whole data days below the watermark; None where there is none of which to tell.

    The first day of a reading is left out: its traffic may have begun at noon.

    Raises:
        ValueError: for sums that no data can have.
    """
    if reading.watermark_at is None:
        return None
    last = f"{reading.watermark_at:%Y-%m-%d}"
    units: dict[str, int] = defaultdict(int)
    for by_stratum in reading.assigned.values():
        for stratum, count in by_stratum.items():
            units[stratum.partition("/")[2]] += count
    days = sorted(day for day in units if day < last)[1:]
    requests, within, independent, squares_known, single = 0, 0.0, 0.0, True, True
    for sample in reading.samples:
        if sample.stratum.partition("/")[2] not in days or sample.units < MIN_STRATUM_UNITS:
            continue
        n = sample.requests
        mean = mean_of(sample)
        requests += n
        single = single and sample.units == n
        within += mean.variance * n * n
        squares_known = squares_known and sample.sum_squares is not None
        independent += max((sample.sum_squares or 0.0) - n * mean.value**2, 0.0) * n / max(n - 1, 1)
    if not days or not requests or within <= 0:
        return None
    return ObservedTraffic(
        days=len(days),
        units_per_day=sum(units[day] for day in days) / len(days),
        requests_per_day=requests / len(days),
        sigma=math.sqrt(within / requests),
        design_effect=within / independent if squares_known and independent > 0 else None,
        single=single,
    )


def planned(plan: RolloutPlan, observed: ObservedTraffic) -> RolloutPlan:
    """Return the plan with its mixture fixed for the difference that it names, before the first request is measured.

    A plan that names none, and one whose pairs decide, keeps its own.
    """
    goal = _goal(plan)
    if goal is None or plan.design != SPLIT:
        return plan
    level = plan.test_alpha / plan.challengers
    return replace(plan, tau_requests=planned_tau(goal, observed.sigma, alpha=level, power=POWER))


def alike(plan: RolloutPlan, observed: ObservedTraffic) -> str:
    """Say that a plan takes requests as independent and the observed ones are not; empty where it may."""
    found = observed.design_effect
    if plan.cluster != BY_REQUEST or found is None or found <= MOST_DESIGN_EFFECT:
        return ""
    return f"requests of one unit are alike, design effect {found:.2f} above {MOST_DESIGN_EFFECT:g}"


def _goal(plan: RolloutPlan) -> float | None:
    return plan.margin if plan.hypothesis == NON_INFERIORITY else plan.expected_effect or None


def forecast(plan: RolloutPlan, observed: ObservedTraffic) -> Forecast:
    """Return what a plan can show, if steps take no longer than they must and the last split lasts to the end.

    Of a plan whose pairs decide nothing is told but the traffic: how days differ is known only once there are pairs.
    """
    if plan.design != SPLIT:
        return Forecast(
            observed=observed,
            enough_units_days=None,
            detectable=math.inf,
            goal=None,
            goal_days=None,
            goal_requests=None,
            problem="",
        )
    goal = _goal(plan)
    enough_units, goal_at, weight = None, None, 0.0
    fewer_units, most = 0.0, False
    for day, length, share in _pieces(plan):
        rest = 1 - plan.challengers * share  # the champion's
        weight += observed.requests_per_day * length * share * rest / (share + rest)
        fewer_units += observed.units_per_day * length * min(share, rest)
        if fewer_units < plan.min_units:
            continue
        enough_units = day if enough_units is None else enough_units
        if goal is not None:
            most = most or _detectable(plan, observed, weight, LEAST_POWER) <= goal
            if goal_at is None and _detectable(plan, observed, weight, POWER) <= goal:
                goal_at = day
    problem = ""
    if enough_units is None:
        problem = (
            f"at {observed.units_per_day:.0f} units a day an arm gets {fewer_units:.0f} units in "
            f"{plan.max_data_days:g} data days, and min_units is {plan.min_units}"
        )
    elif goal is not None and not most:
        problem = (
            f"at {observed.requests_per_day:.0f} requests a day a difference of {goal:g} is shown with less than "
            f"{LEAST_POWER:.0%} in {plan.max_data_days:g} data days, one of "
            f"{_detectable(plan, observed, weight, LEAST_POWER):.3g} would be"
        )
    return Forecast(
        observed=observed,
        enough_units_days=enough_units,
        detectable=_detectable(plan, observed, weight, POWER),
        goal=goal,
        goal_days=goal_at,
        goal_requests=None if goal_at is None else goal_at * observed.requests_per_day,
        problem=problem,
    )


def _pieces(plan: RolloutPlan) -> Iterator[tuple[float, float, float]]:
    """Yield end and length of each piece of the split's time, in data days, and the challenger's share in it."""
    splits = [step for step in plan.steps if step.kind == SPLIT and step.divides]
    ends = list(itertools.accumulate(step.data_days for step in splits))
    whole = plan.max_data_days - sum(step.data_days for step in plan.steps if step not in splits)
    pieces = max(1, min(round(whole / _HOUR), _PIECES))
    for number in range(1, pieces + 1):
        day = whole * number / pieces
        index = next((i for i, end in enumerate(ends) if day <= end + 1e-9), len(splits) - 1)
        yield day, whole / pieces, splits[index].weight_percent / 100


def _detectable(plan: RolloutPlan, observed: ObservedTraffic, weight: float, power: float) -> float:
    """Return the difference that a look at ``weight`` effective requests shows with a probability."""
    if weight <= 0:
        return math.inf
    boundary = one_sided_boundary if plan.hypothesis == NON_INFERIORITY else two_sided_boundary
    bar = boundary(weight / plan.tau_requests, plan.test_alpha / plan.challengers) + _NORMAL.inv_cdf(power)
    return bar * observed.sigma / math.sqrt(weight)
