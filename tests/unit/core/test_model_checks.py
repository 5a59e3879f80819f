from __future__ import annotations

import dataclasses
import json
import math
import random
from typing import Any

import pytest

from airflow_ml.core.gate import BLOCK, PASS, decide_model
from airflow_ml.core.metrics import METRICS
from airflow_ml.core.model_checks import (
    BeatsBaseline,
    MinMetric,
    ModelCheck,
    NotWorseThanChampion,
    SliceMetric,
    check_from_dict,
    evaluate,
    needed_columns,
)
from airflow_ml.core.scored_holdout import ScoredHoldout
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, GateErrored

CHECKS = [
    MinMetric("auc", at_least=0.7),
    SliceMetric("brier", by="origin", at_most=0.2, min_rows=50),
    NotWorseThanChampion("brier", margin=0.01, confidence=0.9, cluster="day"),
    BeatsBaseline("log_loss", severity="warning"),
]


def holdout(days: int = 14, per_day: int = 150, seed: int = 1, **changed: Any) -> ScoredHoldout:
    """A world in which the candidate's probabilities are the true ones."""
    draw = random.Random(seed)
    rows = days * per_day
    chance = [draw.betavariate(2, 5) for _ in range(rows)]
    fields: dict[str, Any] = {
        "label": [int(draw.random() < one) for one in chance],
        "candidate": chance,
        "champion": [min(max(one + draw.gauss(0, 0.05), 0), 1) for one in chance],
        "baseline": [2 / 7] * rows,
        "cluster": [f"2013-03-{1 + at // per_day:02}" for at in range(rows)],
        "slices": {"origin": [("EWR", "JFK", "LGA")[at % 3] for at in range(rows)]},
    }
    return ScoredHoldout(**{**fields, **changed})


SCORED = holdout()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: type(check).__name__)
def test_wire_form_round_trip(check: ModelCheck) -> None:
    wire = json.loads(json.dumps(check.to_dict()))
    assert wire["check"] == type(check).__name__
    assert check_from_dict(wire) == check
    assert type(check).from_dict(wire) == check


def test_numbers_may_be_text_as_a_template_renders_them() -> None:
    wire = {"check": "SliceMetric", "metric": "auc", "by": "origin", "at_least": "0.6", "min_rows": "100"}
    assert check_from_dict(wire) == SliceMetric("auc", by="origin", at_least=0.6, min_rows=100)


def test_anything_may_wait_in_a_check_until_it_is_read() -> None:
    later = object()
    assert MinMetric("auc", at_least=later).to_dict()["at_least"] is later  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at_least of MinMetric is not a number"):
        evaluate([MinMetric("auc", at_least=later)], SCORED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        ({"check": "MinMetrik", "metric": "auc"}, "Did you mean MinMetric"),
        ("MinMetric", "Unknown check"),
        ({"metric": "auc"}, "Unknown check"),
        ({"check": "MinMetric", "metric": "auk", "at_least": 1}, "Did you mean auc"),
        ({"check": "MinMetric", "metric": "auc"}, "Give at_least"),
        ({"check": "MinMetric", "metric": "brier"}, "Give at_most"),
        ({"check": "MinMetric", "at_least": 1}, "MinMetric needs: metric"),
        ({"check": "MinMetric", "metric": "auc", "minimum": 1}, "no option: minimum"),
        ({"check": "MinMetric", "metric": "auc", "at_least": "high"}, "at_least of MinMetric is not a number: 'high'"),
        ({"check": "MinMetric", "metric": "auc", "at_least": math.nan}, "not a number"),
        ({"check": "MinMetric", "metric": "auc", "at_least": 0.5, "severity": "fatal"}, "severity"),
        ({"check": "SliceMetric", "metric": "auc", "at_least": 0.5}, "SliceMetric needs: by"),
        ({"check": "SliceMetric", "metric": "auc", "by": "o", "at_least": 0.5, "min_rows": 0}, "min_rows"),
        ({"check": "BeatsBaseline", "metric": "auc", "baseline": "zero"}, "The only one is train_mean"),
        ({"check": "BeatsBaseline", "metric": "auc", "confidence": 95}, "between 0.5 and 1"),
        ({"check": "BeatsBaseline", "metric": "auc", "resamples": 10}, "Use 200 or more"),
        ({"check": "NotWorseThanChampion", "metric": "auc", "margin": -1}, "margin"),
    ],
)
def test_malformed_checks_are_refused(wire: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        check_from_dict(wire)


def test_a_good_model_passes_all() -> None:
    results = evaluate([*CHECKS[1:], MinMetric("auc", at_least=0.6)], SCORED)
    assert [one.passed for one in results] == [True] * 4
    assert decide_model(results)[0] == PASS


def test_bounds_on_both_sides() -> None:
    low, between, high = evaluate(
        [MinMetric("auc", at_least=0.9), MinMetric("auc", at_least=0.5, at_most=0.9), MinMetric("auc", at_most=0.5)],
        SCORED,
    )
    assert (low.passed, between.passed, high.passed) == (False, True, False)
    assert between.expected == "at least 0.5 and at most 0.9"


def test_a_bad_slice_is_named() -> None:
    origin = SCORED.slices["origin"]
    spoilt = [1 - one if where == "LGA" else one for one, where in zip(SCORED.candidate, origin, strict=True)]
    found = evaluate([SliceMetric("auc", by="origin", at_least=0.6)], dataclasses.replace(SCORED, candidate=spoilt))[0]
    assert not found.passed
    assert "worst LGA" in str(found.observed)
    assert "1 of 3 outside" in str(found.observed)


def test_small_slices_are_counted_and_never_pass_alone() -> None:
    small = dataclasses.replace(SCORED, slices={"origin": ["JFK"] * 2095 + ["LGA"] * 5})
    found = evaluate([SliceMetric("brier", by="origin", at_most=0.3)], small)[0]
    assert found.passed
    assert "1 too small to judge" in str(found.observed)
    nothing = evaluate([SliceMetric("brier", by="origin", at_most=0.3, min_rows=5000)], SCORED)[0]
    assert not nothing.passed
    assert "none of 3 slices has min_rows=5000 rows, the largest has 700" in str(nothing.observed)


@pytest.mark.parametrize("name", ["brier", "log_loss", "auc", "rmse"])
def test_a_worse_model_is_shown_to_be_worse(name: str) -> None:
    swapped = dataclasses.replace(SCORED, candidate=SCORED.champion, champion=SCORED.candidate)
    better = evaluate([NotWorseThanChampion(name)], SCORED)[0]
    worse = evaluate([NotWorseThanChampion(name)], swapped)[0]
    tolerated = evaluate([NotWorseThanChampion(name, margin=0.2)], swapped)[0]
    assert (better.passed, worse.passed, tolerated.passed) == (True, False, True)


@pytest.mark.parametrize("name", METRICS)
def test_the_same_model_is_not_worse_and_beats_nothing(name: str) -> None:
    same = dataclasses.replace(SCORED, champion=SCORED.candidate, baseline=SCORED.candidate)
    not_worse, beats = evaluate([NotWorseThanChampion(name), BeatsBaseline(name)], same)
    assert (not_worse.passed, beats.passed) == (True, False)


def test_no_champion_passes_and_says_so() -> None:
    found = evaluate([NotWorseThanChampion("brier")], dataclasses.replace(SCORED, champion=None))[0]
    assert found.passed
    assert found.observed == "no champion to compare with"


def test_the_baseline_itself_does_not_beat_the_baseline() -> None:
    found = evaluate([BeatsBaseline("brier")], dataclasses.replace(SCORED, candidate=SCORED.baseline))[0]
    assert not found.passed


def test_clusters_may_be_a_carried_column() -> None:
    assert needed_columns([BeatsBaseline("brier", cluster="tailnum"), *CHECKS]) == ["origin", "tailnum"]
    units = [f"N{at % 40}" for at in range(len(SCORED.label))]
    carried = dataclasses.replace(SCORED, slices={"tailnum": units})
    assert "40 clusters" in str(evaluate([BeatsBaseline("brier", cluster="tailnum")], carried)[0].observed)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"candidate": [math.nan, *SCORED.candidate[1:]]}, "a prediction is not finite: 1 of 2100"),
        ({"candidate": [None, *SCORED.candidate[1:]]}, "a prediction is not finite"),
        ({"candidate": [math.inf, *SCORED.candidate[1:]]}, "a prediction is not finite"),
        ({"candidate": [1.5, *SCORED.candidate[1:]]}, "needs probabilities"),
        ({"label": [math.nan, *SCORED.label[1:]]}, "a label is not finite"),
        ({"label": [2, *SCORED.label[1:]]}, "labels of 0 and 1"),
        ({"champion": [math.nan, *SCORED.candidate[1:]]}, "The champion cannot be measured"),
        ({"cluster": ["2013-03-01"] * 2100}, "Too few clusters"),
        ({"label": [0] * 2100}, "both classes"),
    ],
)
def test_what_cannot_be_computed_is_no_pass(changed: dict[str, Any], told: str) -> None:
    results = evaluate([MinMetric("auc", at_least=0.1), NotWorseThanChampion("auc")],
                       dataclasses.replace(SCORED, **changed))  # fmt: skip
    assert any(told in str(one.observed) for one in results), results
    assert decide_model(results)[0] == BLOCK


def test_one_row_blocks() -> None:
    results = evaluate([BeatsBaseline("brier"), MinMetric("auc", at_least=0.5)], holdout(days=1, per_day=1))
    assert [one.passed for one in results] == [False, False]


def test_no_rows_and_ragged_rows_are_errors() -> None:
    with pytest.raises(EmptyDataset, match="no rows"):
        evaluate(CHECKS, holdout(days=0))
    with pytest.raises(GateErrored, match="2100 labels, 1 of champion"):
        evaluate(CHECKS, dataclasses.replace(SCORED, champion=[0.5]))


@pytest.mark.parametrize(
    "check", [SliceMetric("auc", by="carrier", at_least=0.5), BeatsBaseline("brier", cluster="carrier")]
)
def test_unknown_column(check: ModelCheck) -> None:
    with pytest.raises(ColumnMissing, match=r"carrier.*carried: origin"):
        evaluate([check], SCORED)
