"""The choice of winners."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.selection import choose, pooled_params, selection_reason, weighted_value, winners
from airflow_ml.errors import ConfigurationError, SweepFailed


def row(trial: str, value: float | None, *, group: str = "EWR", seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    status = "succeeded" if value is not None else "failed"
    return {"group": group, "trial": trial, "status": status, "value": value, "params": {}, "seconds": seconds, **more}


@pytest.mark.parametrize(("direction", "winner"), [("minimize", "t2"), ("maximize", "t1")])
def test_the_best_value_wins(direction: str, winner: str) -> None:
    (choice,) = choose([row("t1", 0.3), row("t2", 0.1), row("t3", 0.2)], direction=direction)
    assert choice.trial == winner
    assert choice.succeeded == 3


def test_a_tie_goes_to_the_faster_then_to_the_smaller_id() -> None:
    rows = [row("t9", 0.1, seconds=1.0), row("t1", 0.1, seconds=2.0), row("t2", 0.1, seconds=1.0)]
    (choice,) = choose(rows, direction="minimize")
    assert choice.trial == "t2"
    assert "fastest of 3 equals" in choice.reason


@pytest.mark.parametrize(
    "bad",
    [
        {"status": "failed", "value": 0.0},
        {"status": "timed_out", "value": None},
        {"status": "succeeded", "value": float("nan")},
        {"status": "succeeded", "value": float("-inf")},
        {"status": "killed", "value": None},
    ],
)
def test_a_trial_that_did_not_succeed_never_wins(bad: dict[str, Any]) -> None:
    (choice,) = choose([{**row("t1", 0.0), **bad}, row("t2", 0.9)], direction="minimize")
    assert (choice.trial, choice.failed) == ("t2", 1)
    assert "1 failed" in choice.reason


def test_a_group_without_success_is_named_with_its_reason() -> None:
    lost, won = choose(
        [row("t1", None, group="EWR", reason="ValueError: one class only"), row("t2", 0.2, group="JFK")],
        direction="minimize",
    )
    assert (lost.group, lost.trial) == ("EWR", None)
    assert "none of 1 trials succeeded" in lost.reason
    assert "one class only" in lost.reason
    assert winners((lost, won)) == (won,)
    words = selection_reason((lost, won), metric="brier", direction="minimize", value=0.2)
    assert "EWR" in words
    assert "1 failed" in words


def test_no_winner_at_all_is_an_error() -> None:
    with pytest.raises(SweepFailed, match="none of 1 trials"):
        winners(choose([row("t1", None)], direction="minimize"))
    with pytest.raises(SweepFailed, match="no rows"):
        winners(choose([], direction="minimize"))


@pytest.mark.parametrize("as_text", [True, False])
def test_constraints_leave_trials_out(as_text: bool) -> None:
    def metrics(**values: float) -> Any:
        return json.dumps(values) if as_text else values

    rows = [
        row("slow", 0.1, seconds=90.0, metrics=metrics(recall=0.9)),
        row("weak", 0.2, metrics=metrics(recall=0.1)),
        row("mute", 0.25, metrics=metrics()),
        row("good", 0.3, metrics=metrics(recall=0.5)),
    ]
    limits = {"seconds": {"max": 60.0}, "recall": {"min": 0.3}}
    (choice,) = choose(rows, direction="minimize", constraints=limits)
    assert (choice.trial, choice.excluded) == ("good", 3)
    (none,) = choose(rows[:3], direction="minimize", constraints=limits)
    assert none.trial is None
    assert "recall min 0.3" in none.reason


@pytest.mark.parametrize("bad", [{"recall": 0.3}, {"recall": {}}, {"recall": {"least": 1}}, {"x": {"min": "a"}}])
def test_a_malformed_constraint_is_refused(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="Malformed constraint"):
        choose([], direction="minimize", constraints=bad)


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Unknown direction"):
        choose([], direction="up")


def test_params_and_seed_come_along() -> None:
    (choice,) = choose([row("t1", 0.1, params='{"lr": 0.1}', seed=7, rows=12)], direction="minimize")
    assert (choice.params, choice.seed, choice.rows) == ({"lr": 0.1}, 7, 12)


def test_the_pooled_model_takes_the_largest_groups_parameters() -> None:
    members = [{"group": "JFK", "params": {"a": 1}}, {"group": "EWR", "params": {"a": 2}}]
    assert pooled_params(members, {"EWR": 10, "JFK": 5})["group"] == "EWR"
    assert pooled_params(members, {"EWR": 5, "JFK": 10})["group"] == "JFK"
    assert pooled_params(members, {})["group"] == "EWR"


def test_the_mean_is_weighted_by_rows() -> None:
    choices = choose([row("t1", 0.1, group="EWR"), row("t2", 0.4, group="JFK")], direction="minimize")
    assert weighted_value(choices, {"EWR": 3, "JFK": 1}) == pytest.approx(0.175)
    assert weighted_value(choices, {}) == pytest.approx(0.25)


ROWS = st.lists(
    st.builds(
        lambda i, g, v, s: row(f"t{i}", v, group=g, seconds=s),
        st.integers(0, 10_000),
        st.sampled_from(["EWR", "JFK", "LGA"]),
        st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3, float("nan")])),
        st.sampled_from([1.0, 2.0]),
    ),
    unique_by=lambda item: item["trial"],
    max_size=30,
)


@given(rows=ROWS, seed=st.integers(), direction=st.sampled_from(["minimize", "maximize"]))
def test_the_order_of_the_rows_never_matters_and_nobody_is_better(
    rows: list[dict[str, Any]], seed: int, direction: str
) -> None:
    choices = choose(rows, direction=direction)
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    assert choose(shuffled, direction=direction) == choices
    assert [choice.group for choice in choices] == sorted({item["group"] for item in rows})
    for choice in choices:
        own = [item for item in rows if item["group"] == choice.group]
        done = [item for item in own if item["status"] == "succeeded" and item["value"] == item["value"]]
        assert choice.succeeded + choice.failed == len(own)
        if not done:
            assert choice.trial is None
            continue
        best = (min if direction == "minimize" else max)(item["value"] for item in done)
        assert choice.value == best
        assert choice.seconds == min(item["seconds"] for item in done if item["value"] == best)
