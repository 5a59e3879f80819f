"""The driver against the in-memory twins, with a clock in the test's hand and a failure at every failpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from airflow_ml.core.failpoint import arm
from airflow_ml.core.guardrail import Guardrail
from airflow_ml.core.ports import Reading
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import FencedOut, MetricUnreadable, RegistryUnavailable, RolloutBusy, RouterFailed
from airflow_ml.runtime.rollout_evidence import closing_record, find_end
from airflow_ml.testing.failpoints import FailpointError, failing
from airflow_ml.testing.rollout_world import MODEL, ONE, OWNER, PLAN, SPACE, TWO, World


def test_a_better_challenger_is_promoted_with_all_its_evidence() -> None:
    world = World()
    state = world.begin()
    assert (state.state, state.weight_percent, state.confirmed) == ("created", 0.0, True)
    assert world.traffic.weight_percent == 0.0
    end = world.run(state)
    assert end.state == "promoted"
    assert end.weights == (5, 50, 100)
    assert [t.weight_percent for t in world.router.history if t.challenger][-1] == 100
    assert world.traffic.champion == TWO
    assert end.evidence is not None
    lines = [json.loads(line) for line in world.store.get_bytes(end.evidence).splitlines()]
    assert [line["number"] for line in lines] == list(range(1, end.looks + 1))
    assert lines[-1]["action"] == "promote"
    record = closing_record(find_end(world.store, MODEL, SPACE, end.epoch))
    assert (record.outcome, record.champion, record.challenger) == ("promoted", "1", "2")
    assert record.effect == pytest.approx(-0.1)
    assert record.interval[1] < 0
    assert record.samples["challenger"] > 100
    world.check()


def test_a_worse_challenger_is_rolled_back_at_the_first_step() -> None:
    world = World(challenger=0.6)
    end = world.run(world.begin())
    assert (end.state, end.weights, end.weight_percent) == ("rolled_back", (5,), 0.0)
    assert end.reason.startswith("The challenger is worse")
    world.check()


def test_an_equal_challenger_ends_inconclusive_at_weight_zero() -> None:
    world = World(challenger=0.2)
    end = world.run(world.begin())
    assert end.state == "inconclusive"
    assert end.weights == (5, 50)
    world.check()


def test_a_living_split_carries_an_expiry_that_looks_renew() -> None:
    world = World()
    state = world.look(world.begin())
    assert world.traffic.expires_at == world.now + timedelta(seconds=300)
    world.look(state, day=False)
    assert world.traffic.expires_at == world.now + timedelta(seconds=300)


def test_a_second_run_is_refused_while_the_first_is_live() -> None:
    world = World()
    world.look(world.begin())
    with pytest.raises(RolloutBusy, match="dag/run/canary"):
        world.begin("other")
    world.check()


def test_a_retry_goes_on_at_the_same_step_and_the_old_attempt_may_not() -> None:
    world = World()
    old = world.look(world.look(world.begin()))
    assert old.step == 1
    new = world.begin()
    assert (new.step, new.epoch, new.claim, new.looks) == (1, old.epoch, old.claim + 1, old.looks)
    with pytest.raises(FencedOut, match="Another attempt"):
        world.look(old)
    assert world.run(new).state == "promoted"
    world.check()


def test_a_clear_after_the_end_by_evidence_gets_the_same_end() -> None:
    world = World(challenger=0.6)
    end = world.run(world.begin())
    assert world.begin() == end


def test_a_clear_after_a_kill_starts_anew() -> None:
    world = World()
    killed = world.driver.roll_back(world.look(world.begin()), "killed")
    assert killed.state == "rolled_back"
    again = world.begin()
    assert again.epoch > killed.router_epoch
    assert again.salt != killed.salt
    assert world.run(again).state == "promoted"
    world.check()


def test_a_lost_owner_is_rolled_back_by_the_reconciler_but_not_before_its_lease_ran_out() -> None:
    world = World()
    world.look(world.begin())
    world.now += timedelta(seconds=179)
    before = world.driver.reconcile(MODEL, SPACE)
    assert before is not None
    assert before.live
    world.now += timedelta(seconds=1)
    after = world.driver.reconcile(MODEL, SPACE)
    assert after is not None
    assert (after.state, world.traffic.weight_percent) == ("rolled_back", 0.0)
    world.check()


def test_an_owner_that_wakes_after_its_lease_rolls_itself_back() -> None:
    world = World()
    end = world.look(world.look(world.begin()), seconds=181)
    assert (end.state, end.reason) == ("rolled_back", f"Its owner {OWNER} was lost: no look before the lease ran out")
    world.check()


def test_a_freeze_of_90_seconds_rolls_nothing_back() -> None:
    world = World()
    assert world.look(world.look(world.begin()), seconds=150).live


def test_another_run_may_begin_once_the_lease_ran_out() -> None:
    world = World()
    first = world.look(world.begin())
    world.now += timedelta(seconds=200)
    second = world.begin("other")
    assert second.epoch > first.epoch
    with pytest.raises(FencedOut):
        world.look(first)
    assert world.run(second).state == "promoted"
    world.check()


def test_a_late_write_of_a_living_rollout_is_refused_after_its_end() -> None:
    world = World()
    state = world.look(world.begin())
    late = world.traffic
    world.driver.roll_back(state, "stop")
    with pytest.raises(FencedOut):
        world.router.write(replace(late, weight_percent=50.0))
    world.check()


def test_no_metric_no_rollout_and_no_lease_left() -> None:
    world = World()
    world.metrics.problem = MetricUnreadable("Unknown metric", "brierr", "Known are brier.")
    with pytest.raises(MetricUnreadable):
        world.begin()
    assert (world.newest.state, world.newest.lease_expires_at) == ("rolled_back", None)
    assert world.newest.reason.startswith("The pre-flight failed: Unknown metric")
    world.check()


def test_a_variant_that_cannot_be_loaded_stops_before_any_traffic() -> None:
    world = World()
    world.router.down = True
    with pytest.raises(RouterFailed):
        world.begin()
    world.router.down = False
    assert world.newest.pending == "rolled_back"
    assert world.begin().state == "created"
    world.check()


def test_a_router_with_another_champion_is_a_refusal() -> None:
    world = World()
    world.run(world.begin())
    with pytest.raises(RouterFailed, match="another champion"):
        world.begin("other", challenger={**TWO, "version": "3"})


def test_a_router_out_of_reach_for_long_ends_it_and_is_retried_until_true() -> None:
    world = World()
    state = world.look(world.begin())
    world.router.down = True
    for _ in range(3):
        state = world.look(state, day=False)
        assert (state.live, state.pending) == (True, None)
    for _ in range(3):
        state = world.look(state, day=False)
    assert state.pending == "rolled_back"
    assert world.look(state, day=False).live
    world.router.down = False
    assert world.look(state, day=False).state == "rolled_back"
    world.check()


def test_a_short_trouble_is_forgotten() -> None:
    world = World()
    state = world.look(world.begin())
    for down in (True, True, True, False, True, True, True, False):
        world.router.down = down
        state = world.look(state, day=False)
        assert state.live
    assert state.trouble_since_at is None
    assert world.run(state).state == "promoted"


def test_a_metric_out_of_reach_never_promotes() -> None:
    world = World()
    state = world.look(world.begin())
    world.metrics.problem = MetricUnreadable("The gateway answers 503", "", "")
    end = world.run(state)
    assert end.state == "rolled_back"
    assert "cannot be read" in end.reason
    world.check()


def test_a_router_taken_over_by_hand_is_a_conflict_and_left_alone() -> None:
    world = World()
    state = world.look(world.begin())
    by_hand = replace(world.traffic, epoch=1000, champion={**ONE, "version": "9"}, challenger=None, weight_percent=0.0)
    world.router.write(by_hand)
    end = world.look(state)
    assert (end.state, end.weight_percent) == ("conflict", 0.0)
    assert world.traffic == by_hand


def test_an_alias_moved_meanwhile_is_a_conflict_and_the_old_champion_serves() -> None:
    world = World()
    world.champion = "7"
    end = world.run(world.begin())
    assert (end.state, end.weight_percent) == ("conflict", 0.0)
    assert "moved from version 1 to 7" in end.reason
    assert world.traffic.champion == ONE


def test_a_registry_that_does_not_answer_delays_the_promotion() -> None:
    world = World()
    state = world.begin()
    while state.step < 2:
        state = world.look(state)
    world.registry_problem = RegistryUnavailable("No answer", "", "")
    state = world.look(state)
    assert state.live
    world.registry_problem = None
    assert world.look(state).state == "promoted"


def test_the_first_champion_is_installed_without_a_comparison() -> None:
    world = World()
    end = world.driver.install(PLAN, MODEL, SPACE, TWO, OWNER)
    assert (end.state, end.weight_percent, world.traffic.champion) == ("installed", 100.0, TWO)
    assert world.driver.install(PLAN, MODEL, SPACE, TWO, OWNER) == end
    assert closing_record(end).champion == ""
    world.check()


def test_an_installation_that_fails_can_be_tried_again() -> None:
    world = World()
    world.router.down = True
    with pytest.raises(RouterFailed):
        world.driver.install(PLAN, MODEL, SPACE, TWO, OWNER)
    world.router.down = False
    assert world.driver.install(PLAN, MODEL, SPACE, TWO, OWNER).state == "installed"
    world.check()


def _begin_and_run(world: World, attempt: Callable[[], None]) -> RolloutState:
    """Run to the end, beginning again after every crash as a retried task does."""
    for _ in range(5):
        world.driver = world.new_driver()
        try:
            return world.run(world.begin())
        except FailpointError:
            attempt()
    raise AssertionError("it kept crashing")


POINTS = [
    "rollout.after_create",
    "rollout.after_preflight_router",
    "rollout.after_intent",
    "rollout.after_router",
    "rollout.after_end_intent",
    "rollout.after_end_router",
]


@pytest.mark.parametrize("passage", [1, 2, 3, 5])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(("challenger", "outcome"), [(0.1, "promoted"), (0.6, "rolled_back"), (0.2, "inconclusive")])
def test_a_crash_at_any_point_changes_neither_the_end_nor_the_evidence(
    challenger: float, outcome: str, point: str, passage: int
) -> None:
    calm = World(challenger)
    expected = calm.run(calm.begin())
    world = World(challenger)
    with failing(f"{point}=raise@{passage}") as failpoints:
        end = _begin_and_run(world, lambda: None)
    assert end.state == expected.state == outcome
    assert end.weights == expected.weights
    assert len({state.epoch for state in world.history()}) == 1
    world.check()
    assert point in failpoints.seen
    assert end.evidence is not None
    numbers = [json.loads(line)["number"] for line in world.store.get_bytes(end.evidence).splitlines()]
    assert numbers == list(range(1, end.looks + 1))


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_for_good_is_cleaned_up_by_the_reconciler(point: str) -> None:
    world = World()
    with failing(point), pytest.raises(FailpointError):
        world.run(world.begin())
    world.now += timedelta(seconds=181)
    end = world.driver.reconcile(MODEL, SPACE)
    assert end is not None
    assert (end.live, end.weight_percent) == (False, 0.0)
    world.check()


def test_a_guardrail_out_of_reach_is_trouble_and_its_return_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    plan = replace(PLAN, guardrails=(Guardrail(metric="mae", margin=0.05),))
    state = world.driver.begin(plan, MODEL, SPACE, ONE, TWO, OWNER)
    read = world.metrics.read

    def without_mae(model: str, *, metric: str, epoch: int) -> Reading:
        if metric == "mae":
            raise MetricUnreadable("No such metric", metric, "")
        return read(model, metric=metric, epoch=epoch)

    monkeypatch.setattr(world.metrics, "read", without_mae)
    state = world.look(world.look(state))
    assert (state.step, state.trouble_since_at is not None) == (-1, True)
    monkeypatch.undo()
    end = world.run(state)
    assert end.state == "promoted"
    assert end.last_look is not None
    world.check()


@pytest.mark.parametrize("point", ["metric", "rollout.after_intent", "rollout.after_router"])
@pytest.mark.parametrize(("seconds", "outlives"), [(90, True), (400, False)])
def test_a_look_that_froze_beyond_its_lease_moves_no_traffic(point: str, seconds: float, outlives: bool) -> None:
    """Between any two of its steps a process may be stopped; when it goes on, others may hold its rollout for lost."""
    world = World()
    state = world.look(world.begin())

    def freeze(name: str) -> None:
        if name == point:
            arm(None)
            world.now += timedelta(seconds=seconds)

    arm(freeze)
    try:
        state = world.look(state)
    finally:
        arm(None)
    world.check()
    assert (state.live, world.traffic.weight_percent) == ((True, 50.0) if outlives else (False, 0.0))
    if not outlives:
        assert "lease ran out" in state.reason
        assert state.cause == "interruption"
