from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.record import parse
from airflow_ml.core.rollout_change import adopted, confirmed, created, ended, ending, looked
from airflow_ml.core.rollout_look import Look
from airflow_ml.core.rollout_state import ENDS, SERVING_ENDS, RolloutState
from airflow_ml.errors import FencedOut, RolloutBusy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARK = datetime(2013, 5, 1, tzinfo=UTC)
PLAN = parse_plan([5, 50])


def new(previous: RolloutState | None = None, **changes: Any) -> RolloutState:
    fields: dict[str, Any] = {
        "plan": PLAN,
        "model": "m",
        "namespace": "prod",
        "champion": {"version": "1"},
        "challenger": {"version": "2"},
        "owner": "d/r/t",
        "now": NOW,
        "lease_seconds": 180,
    }
    return created(previous, **{**fields, **changes})


def look(number: int = 1, **changes: Any) -> Look:
    fields: dict[str, Any] = {
        "number": number,
        "at": NOW,
        "watermark_at": MARK,
        "step": 0,
        "weight_percent": 5.0,
        "action": "hold",
        "reason": "why",
    }
    return Look(**{**fields, **changes})


def advance(state: RolloutState, now: datetime = NOW) -> RolloutState:
    return looked(state, look(state.looks + 1), next_step=True, now=now, lease_seconds=180)


def test_it_begins_at_weight_zero_above_every_epoch_before() -> None:
    first = new()
    assert (first.epoch, first.router_epoch, first.weight_percent, first.step) == (1, 1, 0.0, -1)
    end = ended(ending(first, "rolled_back", reason="r", cause="evidence"))
    assert new(end).epoch == end.router_epoch + 1 == 3
    assert new(end, router_epoch=40).epoch == 41
    assert new(end).salt != first.salt


def test_a_live_one_is_in_the_way_and_says_whose_it_is() -> None:
    with pytest.raises(RolloutBusy, match=r"epoch 1 of d/r/t, state created, leased until 2026-01-01T00:03:00Z"):
        new(new(), owner="other")


def test_only_its_owner_adopts_it_and_only_within_the_lease() -> None:
    state = advance(new())
    later = NOW + timedelta(seconds=100)
    mine = adopted(state, owner="d/r/t", now=later, lease_seconds=180)
    assert mine == replace(state, claim=2, lease_expires_at=later + timedelta(seconds=180))
    with pytest.raises(RolloutBusy):
        adopted(state, owner="other", now=later, lease_seconds=180)
    with pytest.raises(FencedOut):
        adopted(state, owner="d/r/t", now=NOW + timedelta(seconds=180), lease_seconds=180)


def test_a_step_sets_weight_and_clocks_and_waits_for_confirmation() -> None:
    state = advance(new())
    assert (state.state, state.step, state.weight_percent, state.confirmed) == ("running", 0, 5.0, False)
    assert (state.started_watermark_at, state.step_watermark_at, state.weights) == (MARK, MARK, (5.0,))
    assert confirmed(state).confirmed


def test_a_hold_renews_the_lease_and_nothing_else_of_the_plan() -> None:
    state = confirmed(advance(new()))
    later = NOW + timedelta(seconds=60)
    held = looked(state, look(2), next_step=False, now=later, lease_seconds=180)
    assert held.lease_expires_at == later + timedelta(seconds=180)
    assert (held.step, held.weight_percent, held.confirmed, held.looks) == (0, 5.0, True, 2)
    assert held.progress_at == NOW


def test_trouble_is_dated_from_its_first_look() -> None:
    state = confirmed(advance(new()))
    for seconds in (10, 20):
        now = NOW + timedelta(seconds=seconds)
        state = looked(state, look(watermark_at=None), next_step=False, now=now, lease_seconds=180, trouble=True)
    assert state.trouble_since_at == NOW + timedelta(seconds=10)
    assert state.watermark_at == MARK
    assert confirmed(state).trouble_since_at is None


def test_nobody_acts_after_the_lease_or_an_intent_to_end() -> None:
    state = advance(new())
    with pytest.raises(FencedOut):
        advance(state, NOW + timedelta(seconds=180))
    with pytest.raises(FencedOut):
        advance(ending(state, "rolled_back", reason="r", cause="evidence"))


@pytest.mark.parametrize("outcome", ENDS)
def test_every_end_has_its_weight_and_no_lease(outcome: str) -> None:
    state = advance(advance(new()))
    intent = ending(state, outcome, reason="r", cause="evidence")
    assert intent.live
    assert intent.router_epoch == state.epoch + 1
    end = ended(intent)
    assert (end.state, end.live, end.pending, end.lease_expires_at) == (outcome, False, None, None)
    assert end.weight_percent == (100.0 if outcome in SERVING_ENDS else 0.0)
    with pytest.raises(FencedOut):
        ending(end, "rolled_back", reason="r", cause="evidence")


def test_no_promotion_before_the_last_step() -> None:
    with pytest.raises(ValueError, match="cannot end as 'promoted'"):
        ending(advance(new()), "promoted", reason="r", cause="evidence")
    with pytest.raises(ValueError, match="cannot end as 'running'"):
        ending(new(), "running", reason="r", cause="evidence")


def test_an_intent_to_stop_overrules_one_to_promote_but_never_the_other_way() -> None:
    state = advance(advance(new()))
    promoting = ending(state, "promoted", reason="better", cause="evidence")
    stopped = ending(promoting, "rolled_back", reason="lost", cause="interruption")
    assert (stopped.weight_percent, stopped.router_epoch) == (0.0, promoting.router_epoch + 1)
    for outcome in ("promoted", "inconclusive", "rolled_back"):
        with pytest.raises(FencedOut):
            ending(stopped, outcome, reason="r", cause="evidence")


def test_an_end_needs_an_intent() -> None:
    with pytest.raises(FencedOut):
        ended(advance(new()))


def test_the_record_survives_the_wire() -> None:
    state = advance(advance(new()))
    rich = replace(state, last_look=look(interval=(-0.1, 0.2), units={"champion": 1}, effect=0.1, variance=0.2))
    assert parse(rich.to_dict()) == rich
