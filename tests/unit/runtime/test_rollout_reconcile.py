"""The reconciler over the memory twins: what lost its owner is ended, what has one is left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import ConnectionMissing
from airflow_ml.runtime.rollout import RolloutDriver
from airflow_ml.runtime.rollout_reconcile import Reconciled, reconcile_all
from airflow_ml.testing.failpoints import FailpointError, failing
from airflow_ml.testing.rollout_world import MODEL, ONE, OWNER, PLAN, SPACE, TWO, World


def reconcile(world: World, namespace: str = SPACE) -> tuple[int, list[Reconciled]]:
    return reconcile_all(world.store, namespace, lambda state: world.new_driver(), now=world.now)


def test_nothing_is_done_where_there_is_nothing() -> None:
    assert reconcile(World()) == (0, [])


def test_a_living_rollout_is_left_alone() -> None:
    world = World()
    state = world.look(world.begin())
    world.now += timedelta(seconds=179)
    before = len(world.router.history)
    assert reconcile(world) == (1, [])
    assert (world.newest, len(world.router.history)) == (state, before)


def test_a_rollout_whose_owner_was_lost_ends_at_weight_zero() -> None:
    world = World()
    state = world.look(world.begin())
    assert world.traffic.weight_percent == 5
    world.now += timedelta(seconds=180)
    seen, (done,) = reconcile(world)
    assert (seen, done.model, done.epoch, done.action) == (1, MODEL, state.epoch, "ended")
    assert OWNER in done.reason
    assert (world.newest.state, world.newest.cause) == ("rolled_back", "interruption")
    world.check()
    assert reconcile(world) == (1, []), "once is enough"


def test_an_end_that_a_crash_cut_short_is_finished() -> None:
    world = World()
    state = world.look(world.begin())
    try:
        with failing("rollout.after_end_intent"):
            world.driver.roll_back(state, "killed")
    except FailpointError:
        pass
    assert world.newest.pending == "rolled_back"
    world.now += timedelta(seconds=200)
    (done,) = reconcile(world)[1]
    assert done.reason == "rolled_back: killed"
    world.check()


def test_a_router_that_was_restored_from_an_older_copy_is_set_right() -> None:
    world = World()
    state = world.look(world.begin())
    split = world.traffic
    world.driver.roll_back(state, "killed")
    world.router._held[MODEL] = split
    (done,) = reconcile(world)[1]
    assert done.action == "reasserted"
    assert (world.traffic.weight_percent, world.traffic.challenger) == (0, None)
    assert reconcile(world) == (1, [])


def test_a_router_that_follows_somebody_else_is_not_touched() -> None:
    world = World()
    world.driver.roll_back(world.look(world.begin()), "killed")
    foreign = replace(world.traffic, epoch=99, challenger=TWO, weight_percent=30.0)
    world.router.write(foreign)
    assert reconcile(world) == (1, [])
    assert world.traffic == foreign


def test_one_model_out_of_reach_keeps_no_other_waiting() -> None:
    world = World()
    for model in ("a", "b", "ended"):
        world.driver.begin(PLAN, model, SPACE, ONE, TWO, OWNER)
    ended = world.driver.latest("ended", SPACE)
    assert ended is not None
    world.driver.roll_back(ended, "killed")
    world.now += timedelta(seconds=200)

    def driver_of(state: RolloutState) -> RolloutDriver:
        if state.model != "b":
            raise ConnectionMissing("No connection", "gateway", "Define it.")
        return world.new_driver()

    _, found = reconcile_all(world.store, SPACE, driver_of, now=world.now)
    assert {one.model: one.action for one in found} == {"a": "failed", "b": "ended", "ended": "unreachable"}
    assert "ConnectionMissing" in found[0].reason


def test_another_namespace_is_not_looked_at() -> None:
    world = World()
    world.driver.begin(PLAN, MODEL, f"{SPACE}/branch", ONE, TWO, OWNER)
    world.now += timedelta(seconds=200)
    assert reconcile(world) == (0, [])
    assert reconcile(world, f"{SPACE}/branch")[1][0].action == "ended"


def test_a_record_of_a_newer_release_is_reported() -> None:
    world = World()
    world.begin()
    entry = list(world.store.history(f"rollouts/{SPACE}/{MODEL}"))[-1]
    world.store.append(entry.ref, {**entry.value, "schema": 99}, after=entry.sequence)
    (done,) = reconcile(world)[1]
    assert (done.model, done.action) == (MODEL, "failed")
    assert "RecordTooNew" in done.reason
