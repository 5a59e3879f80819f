"""What humans do with a rollout, over the memory twins: held, resumed, parked, approved, stopped."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.record import parse
from airflow_ml.core.rollout_report import report
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import ConfigurationError, FencedOut, MetricUnreadable, RegistryUnavailable
from airflow_ml.testing.rollout_world import MODEL, OWNER, PLAN, SPACE, TWO, World

ANN: dict[str, Any] = {"who": "ann", "why": "a fair in town"}


def undecided(policy: str) -> tuple[World, RolloutState]:
    """A rollout of two equal versions, looked at until its plan has something to say."""
    world = World(challenger=0.2, plan=replace(PLAN, inconclusive=policy))
    state = world.begin()
    for _ in range(12):
        state = world.look(state)
        if not state.live or state.held:
            return world, state
    raise AssertionError(state)


def test_a_held_rollout_stays_at_its_step_however_good_it_is() -> None:
    world = World()
    world.look(world.begin())
    state = world.acts.hold(MODEL, SPACE, **ANN)
    for _ in range(4):
        state = world.look(state)
    assert (state.state, state.step, world.traffic.weight_percent) == ("running", 0, 5.0)
    assert state.reason == "Held by ann: a fair in town"
    assert [(act.kind, act.who) for act in state.acts] == [("hold", "ann")]
    state = world.acts.resume(MODEL, SPACE, who="bob", why="it is over")
    assert world.run(state).state == "promoted"
    assert [act.kind for act in world.newest.acts] == ["hold", "resume"]
    world.check()


def test_harm_ends_a_held_rollout() -> None:
    world = World(challenger=0.6)
    world.look(world.begin())
    state = world.acts.hold(MODEL, SPACE, **ANN)
    assert world.run(state).state == "rolled_back"
    world.check()


def test_an_undecided_rollout_holds_until_a_human_gives_it_more_time() -> None:
    world, state = undecided("hold")
    assert (state.state, world.traffic.weight_percent) == ("running", 50.0)
    assert state.held.startswith("No decision within 6 data days")
    for _ in range(3):
        state = world.look(state)
    assert state.live, "it waits"
    world.metrics.challenger = 0.1
    state = world.acts.resume(MODEL, SPACE, **ANN)
    assert world.run(state).state == "promoted"


def test_an_undecided_rollout_parks_and_an_approval_lets_it_go_on_with_its_evidence() -> None:
    world, parked = undecided("ask")
    assert (parked.state, parked.live, parked.lease_expires_at) == ("parked", False, None)
    assert (world.traffic.weight_percent, world.traffic.challenger) == (0.0, None)
    world.now += timedelta(days=2)
    state = world.acts.approve(MODEL, SPACE, **ANN)
    assert (state.step, state.weight_percent, state.looks) == (parked.step, 50.0, parked.looks)
    assert state.metric_epochs == (parked.epoch, parked.epoch + 2)
    state = world.look(state, day=False)
    assert world.traffic.weight_percent == 50.0
    world.metrics.challenger = 0.1
    before = state.last_look
    state = world.look(world.look(state))
    assert state.last_look is not None
    assert before is not None
    assert state.last_look.strata > before.strata >= 2, "what was seen before the approval still counts"
    assert world.run(state).state == "promoted"
    world.check()


def test_a_parked_rollout_that_is_rejected_or_stopped_ends_where_it_is() -> None:
    for act, end in (("reject", "inconclusive"), ("stop", "rolled_back")):
        world, _ = undecided("ask")
        assert getattr(world.acts, act)(MODEL, SPACE, **ANN).state == end
        world.check()
        with pytest.raises(FencedOut, match="does not wait for an approval"):
            world.acts.approve(MODEL, SPACE, **ANN)


def test_a_parked_rollout_gives_way_to_the_next_one_and_its_late_approval_does_nothing() -> None:
    world, parked = undecided("ask")
    state = world.begin(owner="dag/other/canary")
    assert state.epoch > parked.epoch
    ends = [one.state for one in world.history() if one.epoch == parked.epoch]
    assert ends[-1] == "inconclusive"
    with pytest.raises(FencedOut, match="wanted was 1"):
        world.acts.approve(MODEL, SPACE, **ANN, epoch=parked.epoch)


def test_its_own_task_finds_it_parked_again() -> None:
    world, parked = undecided("ask")
    assert world.begin(owner=OWNER) == parked
    assert world.driver.look(parked) == parked


def test_a_stop_is_done_by_whoever_looks_next() -> None:
    world = World()
    state = world.look(world.begin())
    asked = world.acts.stop(MODEL, SPACE, **ANN)
    assert (asked.pending, world.traffic.weight_percent) == ("rolled_back", 5.0)
    assert world.look(state).state == "rolled_back"
    assert world.newest.reason == "Stopped by ann: a fair in town"
    world.check()


def test_a_stop_is_done_by_the_reconciler_if_nobody_looks() -> None:
    world = World()
    world.look(world.begin())
    world.acts.stop(MODEL, SPACE, **ANN)
    world.now += timedelta(seconds=181)
    end = world.driver.reconcile(MODEL, SPACE)
    assert end is not None
    assert end.state == "rolled_back"
    world.check()


def test_a_human_promotes_at_once_and_the_router_serves_it_first() -> None:
    world, state = undecided("hold")
    state = world.acts.promote(MODEL, SPACE, **ANN)
    assert (state.state, state.promote_arm, world.traffic.weight_percent) == ("running", "challenger", 50.0)
    state = world.look(state, day=False)
    assert (state.state, state.confirmed, world.traffic.champion["version"]) == ("promoted", True, "2")
    assert state.reason.startswith("Promoted by ann: a fair in town. The evidence said: hold, Held No decision within")
    assert [(act.kind, act.who) for act in state.acts] == [("promote", "ann")]
    assert state.last_look is not None
    assert (state.last_look.action, state.cause) == ("promote", "evidence")
    assert "promote by `ann`" in report(state)
    world.check()


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_a_promotion_by_hand_skips_the_steps_that_are_left(looks: int) -> None:
    world = World()
    state = world.begin()
    for _ in range(looks):
        state = world.look(state)
    world.acts.promote(MODEL, SPACE, **ANN)
    assert world.look(state).state == "promoted"
    world.check()


def test_a_promotion_by_hand_needs_no_metric_but_a_leader_the_router_and_the_same_champion() -> None:
    world = World()
    state = world.look(world.begin())
    world.acts.promote(MODEL, SPACE, **ANN)
    world.metrics.problem = MetricUnreadable("No answer", "503", "")
    world.registry_problem = RegistryUnavailable("No answer", "503", "")
    state = world.look(state, day=False)
    assert (state.live, state.pending) == (True, None), "who is champion is not known"
    world.registry_problem = None
    world.router.down = True
    state = world.look(state, day=False)
    assert state.live, "nothing is promoted that is not served"
    world.router.down = False
    assert world.look(state, day=False).state == "promoted"
    world.check()


def test_a_promotion_by_hand_over_a_champion_that_was_replaced_is_a_conflict() -> None:
    world = World()
    state = world.look(world.begin())
    world.acts.promote(MODEL, SPACE, **ANN)
    world.champion = "9"
    assert world.look(state).state == "conflict"
    world.check()


def test_harm_beats_a_promotion_by_hand() -> None:
    world = World(challenger=0.6)
    state = world.look(world.begin())
    world.acts.promote(MODEL, SPACE, **ANN)
    state = world.look(state)
    assert (state.state, state.reason[:23]) == ("rolled_back", "The challenger is worse")
    world.check()


def test_a_promotion_by_hand_that_nobody_leads_is_none() -> None:
    world = World()
    world.look(world.begin())
    world.acts.promote(MODEL, SPACE, **ANN)
    world.now += timedelta(seconds=181)
    end = world.driver.reconcile(MODEL, SPACE)
    assert end is not None
    assert end.state == "rolled_back"
    with pytest.raises(FencedOut):
        world.acts.promote(MODEL, SPACE, **ANN)
    world.check()


def test_what_waits_for_an_approval_or_is_a_comparison_is_not_promoted() -> None:
    world, _ = undecided("ask")
    with pytest.raises(FencedOut, match="Approve it first"):
        world.acts.promote(MODEL, SPACE, **ANN)
    other = World(plan=replace(PLAN, promotes=False))
    other.begin()
    with pytest.raises(FencedOut, match="promotes nothing"):
        other.acts.promote(MODEL, SPACE, **ANN)


def test_of_several_challengers_a_human_names_the_one_to_promote() -> None:
    world = World(plan=replace(PLAN, challengers=2, steps=parse_plan([(5, "1d"), (40, "1d"), 100]).steps))
    three = {**TWO, "version": "3"}
    state = world.look(world.begin(others=(three,)))
    for arm in ("", "champion", "challenger-3"):
        with pytest.raises(ConfigurationError, match="Name one of challenger, challenger-2"):
            world.acts.promote(MODEL, SPACE, arm=arm, **ANN)
    world.acts.promote(MODEL, SPACE, arm="challenger-2", **ANN)
    state = world.look(state)
    assert (state.state, world.traffic.champion["version"], state.candidate["version"]) == ("promoted", "3", "3")
    world.check()


@pytest.mark.parametrize("act", ["hold", "resume", "stop", "approve", "reject", "promote"])
def test_acts_on_what_is_not_there_or_has_ended_are_refused(act: str) -> None:
    world = World()
    with pytest.raises(FencedOut, match="No such rollout"):
        getattr(world.acts, act)(MODEL, SPACE, **ANN)
    world.driver.roll_back(world.begin(), "over")
    with pytest.raises(FencedOut):
        getattr(world.acts, act)(MODEL, SPACE, **ANN)
    assert world.newest.acts == ()


def test_resuming_what_is_not_held_is_refused() -> None:
    world = World()
    world.begin()
    with pytest.raises(FencedOut, match="is not held"):
        world.acts.resume(MODEL, SPACE, **ANN)


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("ann", " ")])
def test_an_act_without_a_name_or_a_reason_is_refused(who: str, why: str) -> None:
    world = World()
    world.begin()
    with pytest.raises(ConfigurationError, match="Give both"):
        world.acts.hold(MODEL, SPACE, who=who, why=why)


def test_a_failure_that_the_plan_bears_does_not_end_it() -> None:
    world = World(challenger=0.6, plan=replace(PLAN, failure_limit=2))
    state = world.look(world.begin())
    seen = []
    while state.live:
        state = world.look(state)
        seen.append(state.tally.failures)
    assert (state.state, seen[:2]) == ("rolled_back", [1, 2])


def test_a_success_must_last_as_long_as_the_plan_says() -> None:
    quick, slow = World(), World(plan=replace(PLAN, consecutive_successes=5))
    assert slow.run(slow.begin()).looks > quick.run(quick.begin()).looks


def test_the_record_and_its_report_survive_the_wire_and_hostile_names() -> None:
    world = World()
    world.look(world.begin())
    state = world.acts.hold(MODEL, SPACE, who="<script>`x`", why="line\nbreak **bold**")
    assert parse(state.to_dict()) == state
    text = report(state)
    assert "`<script>'x'`: `line break **bold**`" in text
    assert "5 %" in text
