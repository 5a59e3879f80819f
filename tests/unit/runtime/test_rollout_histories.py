"""Owners, a second run, late attempts, a reconciler, humans, kills, crashes and broken parts in any order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from airflow_ml.core.failpoint import arm
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.rollout_plan import RolloutPlan
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import AirflowMLError, MetricUnreadable
from airflow_ml.runtime.rollout_reconcile import reconcile_all
from airflow_ml.testing.failpoints import FailpointError, failing
from airflow_ml.testing.rollout_world import MODEL, PLAN, SPACE, TWO, World, check_history

POINTS = st.sampled_from(
    [
        "",
        "",
        "rollout.after_create",
        "rollout.after_preflight_router",
        "rollout.after_intent",
        "rollout.after_router",
        "rollout.after_end_intent",
        "rollout.after_end_router",
    ]
)
#: Those that a look passes; ``metric`` is its reading.
POINTS_REACHED = [
    "metric",
    "rollout.after_intent",
    "rollout.after_router",
    *(f"rollout.after_end_{what}" for what in ("intent", "router")),
]
OWNERS = st.sampled_from(["a", "b"])
THREE = {**TWO, "version": "3"}
PLANS = [
    PLAN,
    parse_plan([("aa", "1d"), ("shadow", "2d"), (5, "1d"), (40, "1d"), 100], max_data_days=8, challengers=2),
    parse_plan([("shadow", "4d"), (20, "1d"), 100], max_data_days=8, design="paired_shadow"),
    parse_plan(
        [{"weight_percent": 5, "data_days": 1, "metrics": ["brier"]}, (40, "1d"), 100],
        guardrails=[{"metric": "brier", "limit": 0.3, "after_data_days": 1}, {"metric": "mae", "decides": False}],
        max_data_days=8,
    ),
    parse_plan([("shadow", "2d"), (20, "2d")], max_data_days=6, challengers=2, promotes=False),
]


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        #: What each owner's attempts believe, old ones too: a frozen attempt wakes up with what it knew.
        self.known: list[RolloutState] = []

    @rule(challenger=st.sampled_from([0.1, 0.2, 0.6]))
    def the_challenger_is(self, challenger: float) -> None:
        self.world.metrics.challenger = challenger

    @rule(seconds=st.sampled_from([1, 60, 90, 179, 181, 400]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.world.router.read(MODEL) is not None)
    @rule()
    def a_data_day_passes(self) -> None:
        self.world.metrics.pass_day()

    @rule(down=st.booleans(), unreadable=st.booleans(), dry=st.booleans())
    def parts_fail_or_recover(self, down: bool, unreadable: bool, dry: bool) -> None:
        self.world.router.down = down
        self.world.metrics.unreadable = {"mae"} if dry else set()
        self.world.metrics.problem = MetricUnreadable("No answer", "503", "") if unreadable else None

    @precondition(lambda self: self.world.router.read(MODEL) is None or self.world.traffic.champion["version"] == "1")
    @rule(owner=OWNERS, point=POINTS)
    def begins(self, owner: str, point: str) -> None:
        with suppress(AirflowMLError, FailpointError), failing(point):
            self.known.append(self._begin(owner))

    @precondition(lambda self: bool(self.known))
    @rule(data=st.data(), point=POINTS, fresh=st.booleans())
    def looks(self, data: st.DataObject, point: str, fresh: bool) -> None:
        state = self.known[-1] if fresh else data.draw(st.sampled_from(self.known))
        with suppress(AirflowMLError, FailpointError), failing(point):
            self.known.append(self.world.driver.look(state))

    @precondition(lambda self: bool(self.known))
    @rule(data=st.data(), point=POINTS)
    def kills(self, data: st.DataObject, point: str) -> None:
        with suppress(AirflowMLError, FailpointError), failing(point):
            self.world.driver.roll_back(data.draw(st.sampled_from(self.known)), "killed")

    @precondition(lambda self: bool(self.known))
    @rule(
        point=st.sampled_from(POINTS_REACHED),
        seconds=st.sampled_from([1, 90, 181, 400]),
        meanwhile=st.sampled_from(["nothing", "reconciler", "second run", "stop", "kill", "promote", "another look"]),
        fresh=st.booleans(),
        data=st.data(),
    )
    def a_look_is_frozen_on_the_way(
        self, point: str, seconds: float, meanwhile: str, fresh: bool, data: st.DataObject
    ) -> None:
        """Time passes between two steps of one look, and others act in that time."""
        state = self.known[-1] if fresh else data.draw(st.sampled_from(self.known))

        def others(name: str) -> None:
            if name == point:
                arm(None)
                self.world.now += timedelta(seconds=seconds)
                self._meanwhile(meanwhile, state)

        arm(others)
        try:
            self.known.append(self.world.driver.look(state))
        except AirflowMLError:
            pass
        finally:
            arm(None)

    def _begin(self, owner: str) -> RolloutState:
        return self.world.begin(owner, others=(THREE,) * (self.world.plan.challengers - 1))

    def _meanwhile(self, what: str, state: RolloutState) -> None:
        world = self.world
        with suppress(AirflowMLError):
            if what == "reconciler":
                self._reconcile_all()
            elif what == "second run":
                self.known.append(self._begin("b"))
            elif what == "stop":
                self.known.append(world.acts.stop(MODEL, SPACE, who="ann", why="because"))
            elif what == "kill":
                world.new_driver().roll_back(state, "killed")
            elif what == "promote":
                self.known.append(world.acts.promote(MODEL, SPACE, who="ann", why="because"))
            elif what == "another look":
                self.known.append(world.new_driver().look(state))

    @rule(act=st.sampled_from(["hold", "resume", "stop", "approve", "reject", "promote"]))
    def a_human_acts(self, act: str) -> None:
        arm = {"arm": "challenger-2"} if act == "promote" and self.world.plan.challengers > 1 else {}
        with suppress(AirflowMLError):
            self.known.append(getattr(self.world.acts, act)(MODEL, SPACE, who="ann", why="because", **arm))

    @rule(policy=st.sampled_from(["roll_back", "hold", "ask"]), plan=st.sampled_from(PLANS))
    def the_next_plan_is(self, policy: str, plan: RolloutPlan) -> None:
        self.world.plan = replace(plan, inconclusive=policy)

    @rule(point=POINTS)
    def reconciles(self, point: str) -> None:
        with suppress(AirflowMLError, FailpointError), failing(point):
            self.world.driver.reconcile(MODEL, SPACE)

    @rule(point=POINTS)
    def the_reconciler_goes_through_all(self, point: str) -> None:
        with suppress(FailpointError), failing(point):
            self._reconcile_all()

    @rule(version=st.sampled_from(["1", "1", "9"]))
    def a_human_moves_the_alias(self, version: str) -> None:
        self.world.champion = version

    def _reconcile_all(self) -> list[str]:
        """Return what was done; as Airflow would run it, in a process of its own."""
        world = self.world
        _, found = reconcile_all(world.store, SPACE, lambda state: world.new_driver(), now=world.now)
        return [one.action for one in found]

    @invariant()
    def history_is_sound(self) -> None:
        check_history(self.world.history())
        written = [traffic.epoch for traffic in self.world.router.history]
        assert written == sorted(written)
        assert self.world.unled == []
        assert not any(traffic.shadow and traffic.weight_percent for traffic in self.world.router.history)

    @invariant()
    def an_end_is_true_of_the_router(self) -> None:
        newest = self.world.driver.latest(MODEL, SPACE)
        if newest is not None and not newest.live and self.world.router.read(MODEL) is not None:
            self.world.check()

    def teardown(self) -> None:
        """Whatever happened: with the parts well again, the reconciler ends it at weight 0 or finds it ended."""
        self.world.router.down = False
        self.world.metrics.problem = None
        self.world.now += timedelta(seconds=1000)
        live = (newest := self.world.driver.latest(MODEL, SPACE)) is not None and newest.live
        assert self._reconcile_all() == (["ended"] if live else [])
        assert self._reconcile_all() == [], "once is enough"
        end = self.world.driver.latest(MODEL, SPACE)
        if end is not None:
            assert not end.live
            self.world.check()


class ManyHistories(Histories):
    """The same, often enough for the rare orders."""


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)

TestManyHistories = pytest.mark.timeout(1800)(pytest.mark.long(ManyHistories.TestCase))
TestManyHistories.settings = settings(max_examples=1500, stateful_step_count=50, deadline=None)
