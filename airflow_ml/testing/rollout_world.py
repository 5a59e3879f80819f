"""A small world to lead rollouts in: memory twins, two clocks in the test's hand, parts that can fail."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_ml.adapters.memory.router import MemoryRouter
from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.arms import PAIRED_METRIC, SHADOW_STEP, challengers_of, paired_name
from airflow_ml.core.canary import PROMOTED
from airflow_ml.core.failpoint import fp
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import Reading, Sample, Traffic
from airflow_ml.core.rollout_plan import SPLIT, RolloutPlan
from airflow_ml.core.rollout_state import PARKED, SERVING_ENDS, RolloutState
from airflow_ml.errors import MetricUnreadable, RouterFailed
from airflow_ml.runtime.rollout import RolloutDriver
from airflow_ml.runtime.rollout_acts import RolloutActs
from airflow_ml.runtime.rollout_evidence import rollout_ref

PLAN = parse_plan([(5, "1d"), (50, "1d"), 100], max_data_days=6)
ONE: dict[str, Any] = {"version": "1", "view_digest": "v", "models": {}}
TWO: dict[str, Any] = {"version": "2", "view_digest": "v", "models": {}}
MODEL, SPACE, OWNER = "flights", "prod", "dag/run/canary"


class Metrics:
    """A world that reports, per data day, what the traffic in effect leads to."""

    def __init__(self, router: MemoryRouter, challenger: float, *, served: str = MODEL) -> None:
        self.served = served
        self.day = datetime(2013, 5, 1, tzinfo=UTC)
        self.challenger = challenger
        #: Mean losses by version, where they are not the challenger's.
        self.means: dict[str, float] = {}
        self.problem: Exception | None = None
        #: Metrics that cannot be read.
        self.unreadable: set[str] = set()
        #: Variance over units by that of as many independent requests.
        self.design_effect = 1.0
        self._router = router
        self._samples: dict[int, list[Sample]] = {}

    def pass_day(self) -> None:
        """Let a data day of 4,000 units pass under the traffic in effect."""
        traffic = self._router.read(self.served)
        assert traffic is not None
        day, arms = f"{self.day:%Y-%m-%d}", challengers_of(traffic)
        share = 0.0 if traffic.shadow else traffic.weight_percent / 100
        self._add(traffic, "champion", f"{traffic.weight_percent:g}/{day}", 4000 * (1 - len(arms) * share), 0.2)
        for arm, variant in arms.items():
            # Who is stopped is answered for by the champion.
            mean = 0.2 if arm in traffic.stopped else self._mean(variant)
            self._add(traffic, arm, f"{traffic.weight_percent:g}/{day}", 4000 * share, mean)
            if traffic.shadow and arm not in traffic.stopped:
                wobble = 0.004 * (self.day.day % 3 - 1)  # days differ
                self._add(traffic, paired_name(arm), f"{SHADOW_STEP}/{day}", 4000, self._mean(variant) - 0.2 + wobble)
        self.day += timedelta(days=1)

    def _mean(self, variant: Mapping[str, Any]) -> float:
        """Return the mean loss of a version: 1 has the champion's, others their own or the challenger's."""
        version = str(variant["version"])
        return 0.2 if version == "1" else self.means.get(version, self.challenger)

    def _add(self, traffic: Traffic, variant: str, stratum: str, count: float, mean: float) -> None:
        units = round(count)
        if units:
            made = Sample(
                variant=variant,
                stratum=stratum,
                units=units,
                requests=units,
                sum_x=units * mean,
                sum_xx=units * (mean * mean + 0.04),
                sum_nn=float(units),
                sum_xn=units * mean,
                sum_squares=units * (mean * mean + 0.04 / self.design_effect),
            )
            self._samples.setdefault(traffic.epoch, []).append(made)

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        """Return all days of an epoch, or raise ``problem``."""
        fp("metric")
        if self.problem is not None:
            raise self.problem
        if metric in self.unreadable:
            raise MetricUnreadable(f"There is no {metric}", "", "Measure it.")
        paired = metric.endswith(PAIRED_METRIC)
        samples = tuple(one for one in self._samples.get(epoch, ()) if one.variant.startswith("paired") == paired)
        assigned: dict[str, dict[str, int]] = {}
        for sample in samples:
            assigned.setdefault(sample.variant, {})[sample.stratum] = sample.units
        return Reading(samples=samples, watermark_at=self.day, assigned=assigned)


class FlakyRouter(MemoryRouter):
    """A router that can be out of reach."""

    down = False

    def write(self, traffic: Traffic) -> None:
        """Set the division, unless the router is down."""
        if self.down:
            raise RouterFailed("The gateway does not answer", "connection refused", "Start it.")
        super().write(traffic)
        self.taken(traffic)

    def taken(self, traffic: Traffic) -> None:
        """Called with each division that was taken; a world looks at it."""


class World:
    """One model, one challenger with a mean loss against the champion's 0.2, and whoever leads."""

    def __init__(self, challenger: float = 0.1, plan: RolloutPlan = PLAN) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.plan = plan
        self.store = MemoryStore()
        self.acts = RolloutActs(self.store, clock=lambda: self.now)
        self.router = FlakyRouter()
        self.router.taken = self._taken  # type: ignore[method-assign]
        #: Divisions that the router took from somebody who no longer, or never, led.
        self.unled: list[str] = []
        self.metrics = Metrics(self.router, challenger)
        self.champion = "1"
        self.registry_problem: Exception | None = None
        self.driver = self.new_driver()

    def new_driver(self) -> RolloutDriver:
        """Return a driver as another process would have it."""
        return RolloutDriver(
            self.store, self.router, self.metrics, clock=lambda: self.now, champion_of=self._champion_of
        )

    def _taken(self, traffic: Traffic) -> None:
        """Note a split that was written without a live lease."""
        newest = self.driver.latest(MODEL, SPACE) if traffic.challenger and traffic.weight_percent else None
        if newest is not None and not (newest.live and not newest.expired(self.now)):
            self.unled.append(f"{traffic.weight_percent:g} % in epoch {traffic.epoch} at {self.now}, {newest.state}")

    def _champion_of(self) -> str:
        if self.registry_problem:
            raise self.registry_problem
        return self.champion

    def begin(self, owner: str = OWNER, **changes: Any) -> RolloutState:
        """Begin a rollout of version 2 against version 1."""
        arguments = {"champion": ONE, "challenger": TWO, "owner": owner, **changes}
        return self.driver.begin(self.plan, MODEL, SPACE, **arguments)

    def look(self, state: RolloutState, seconds: float = 60, *, day: bool = True) -> RolloutState:
        """Let time pass on both clocks and take a look."""
        self.now += timedelta(seconds=seconds)
        if day:
            self.metrics.pass_day()
        return self.driver.look(state)

    def run(self, state: RolloutState, looks: int = 40) -> RolloutState:
        """Look until the end."""
        for _ in range(looks):
            if not state.live:
                return state
            state = self.look(state)
        raise AssertionError(f"no end after {looks} looks: {state}")

    @property
    def traffic(self) -> Traffic:
        """What the router does."""
        found = self.router.read(MODEL)
        assert found is not None
        return found

    @property
    def newest(self) -> RolloutState:
        """The newest record."""
        found = self.driver.latest(MODEL, SPACE)
        assert found is not None
        return found

    def history(self) -> list[RolloutState]:
        """All records, oldest first."""
        return [RolloutState.from_dict(e.value) for e in self.store.history(rollout_ref(MODEL, SPACE))]

    def check(self) -> None:
        """Check what holds of every history."""
        states = self.history()
        check_history(states)
        assert self.unled == []
        written = [traffic.epoch for traffic in self.router.history]
        assert written == sorted(written)
        if states and not states[-1].live:
            assert self.traffic.weight_percent == 0
            assert self.traffic.challenger is None
            serving = states[-1].state in SERVING_ENDS
            assert self.traffic.champion["version"] == (states[-1].candidate["version"] if serving else "1")


def check_history(states: Sequence[RolloutState]) -> None:
    """Check what holds of the records of one model, oldest first, whoever wrote them.

    At most one rollout is live, and the next begins when the one before has ended; epochs and claims only grow; steps
    only rise; nothing but a promotion or installation leaves the challenger any traffic; no promotion skips a step,
    but by a human's hand.
    """
    for before, after in itertools.pairwise(states):
        assert after.router_epoch >= before.router_epoch
        if after.epoch != before.epoch:
            assert not before.live
            assert before.state != PARKED
            assert after.epoch > before.router_epoch
        else:
            assert before.live or before.state == PARKED
            if not before.live and after.live:
                assert after.acts[-1].kind == "approve"
                assert after.router_epoch > before.router_epoch
                assert (after.step, after.looks, after.evidence) == (before.step, before.looks, before.evidence)
            if before.held and after.live and not after.held:
                assert after.acts[-1].kind == "resume"
            if before.held and after.held and not after.pending:
                assert after.step == before.step
            assert after.claim >= before.claim
            assert after.step in (before.step, before.step + 1)
            assert after.looks >= before.looks
            if before.pending not in (None, *SERVING_ENDS):
                assert after.state == before.pending
    for state in states:
        serving = (state.pending or state.state) in SERVING_ENDS
        assert (state.lease_expires_at is None) == (not state.live)
        if state.pending or not state.live:
            assert state.weight_percent == (100.0 if serving else 0.0)
        if state.state == PROMOTED:
            splits = tuple(step.weight_percent for step in state.plan.steps if step.kind == SPLIT)
            given = tuple(dict.fromkeys(state.weights))
            assert given == (splits[: len(given)] if state.promote_arm else splits)
            assert not state.promote_arm or any(act.kind == "promote" for act in state.acts)
            assert list(state.weights) == sorted(state.weights)
            assert state.last_look is not None
            assert state.last_look.action == "promote"
