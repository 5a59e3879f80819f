"""What a training function returned, judged."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from airflow_ml.runtime.trial import MAX_REPORTS, Trial, accepts, check_metric, read_metrics


@pytest.mark.parametrize(
    "returned",
    [
        0.5, np.float32(0.5), np.array(0.5), Fraction(1, 2), {"m": 0.5}, {"m": np.float64(0.5)}, ({"m": 0.5}, object()),
        (0.5, object()),
    ],
)  # fmt: skip
def test_numbers_of_every_kind_count(returned):
    assert read_metrics(returned, "m") == {"m": 0.5}
    assert check_metric(read_metrics(returned, "m"), "m") == ""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (float("nan"), "metric is not a finite number: nan"),
        (float("-inf"), "metric is not a finite number: -inf"),
        (np.float32("nan"), "metric is not a finite number: nan"),
        (None, "metric is not a finite number: None"),
        ("0.5", "metric is not a finite number: '0.5'"),
        (True, "metric is not a finite number: True"),
        (10**400, "metric is not a finite number: 1000"),
        ({"m": None}, "metric is not a finite number: None"),
        ({"m": [0.5]}, r"metric is not a finite number: [0.5]"),
        ({}, "metric 'm' was not returned; returned: nothing"),
        ({"b": 1, "a": 2}, "metric 'm' was not returned; returned: a, b"),
        (np.zeros(3), "metric is not a finite number: array"),
        ((1, 2, 3), "metric is not a finite number: (1, 2, 3)"),
    ],
)
def test_everything_else_is_a_failure_with_its_value(returned, said):
    assert check_metric(read_metrics(returned, "m"), "m").startswith(said)


def test_reports_are_finite_and_limited():
    trial = Trial("t1", "g", 3)
    trial.report(1, float("nan"))
    trial.report(2, "x")  # type: ignore[arg-type]
    for step in range(MAX_REPORTS + 5):
        trial.report(step, np.float32(step))
    assert len(trial.reports) == MAX_REPORTS
    assert all(math.isfinite(value) and isinstance(value, float) for _, value in trial.reports)


def test_the_trial_is_given_to_functions_that_want_it():
    assert accepts(lambda data, params, trial: None, "trial")
    assert accepts(lambda data, params, **others: None, "trial")
    assert not accepts(lambda data, params: None, "trial")
