"""The strata of a rollout keep their numbers."""

from __future__ import annotations

from itertools import accumulate

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.rollout_soundness import in_time

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
