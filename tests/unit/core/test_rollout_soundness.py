"""The strata of a rollout keep their numbers; units that are missing are seen, also where each day lacks few."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import Reading
from airflow_ml.core.rollout_change import created
from airflow_ml.core.rollout_readings import merged
from airflow_ml.core.rollout_soundness import in_time, sample_ratio_of, why_void

#: In the order in which they come to be.
BORN = [
    "50/2013-05-01",  # the champion against itself
    "5/2013-05-01",
    "5/2013-05-02",
    "25/2013-05-02",
    "25/2013-05-02/7",
    "25/2013-05-02/10",  # another two epochs of the same day
    "75/2013-05-02/10",
    "75/2013-05-03",
]


def test_a_new_stratum_never_changes_the_number_of_another() -> None:
    plan = parse_plan([("aa", "1d"), 5, 25, 75, 100])
    for seen in accumulate([[one] for one in BORN]):
        assert in_time(set(seen), plan) == seen


def counted(champion: int, challenger: int, *, days: int = 20) -> Reading:
    """Each day has new units; what is given is one day's, at 50 %."""
    arms = {"champion": champion, "challenger": challenger}
    return Reading(
        samples=(),
        watermark_at=None,
        assigned={arm: {f"50/2013-05-{day:02}": units for day in range(1, days + 1)} for arm, units in arms.items()},
        assigned_in_all={arm: {"50": units * days} for arm, units in arms.items()},
    )


def test_units_that_are_missing_each_day_are_seen_over_all_days() -> None:
    plan = parse_plan([50, 100])
    state = created(
        None,
        plan=plan,
        model="m",
        namespace="prod",
        champion={"version": "1"},
        challenger={"version": "2"},
        owner="o",
        now=datetime(2026, 1, 1, tzinfo=UTC),
        lease_seconds=180,
    )
    lossy = counted(200, 170)
    found = sample_ratio_of(plan, state, lossy)
    assert (found.mismatch, found.stratum) == (True, "50")
    assert why_void(plan, lossy, found).startswith("invalid: the split of units over all days at 50 % is not the one")
    assert not sample_ratio_of(plan, state, replace(lossy, assigned_in_all={})).mismatch, "no day shows it"
    assert not sample_ratio_of(plan, state, counted(195, 205)).mismatch
    approved = merged([(3, counted(200, 199)), (7, lossy)])
    assert sample_ratio_of(plan, state, approved).stratum == "50/7"
