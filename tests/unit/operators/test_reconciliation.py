"""The reconciler over the memory twins: what runs out while a round takes its time is not left for a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import BaseNotifier

from airflow_ml.adapters.memory.router import MemoryRouter
from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.ports import Traffic
from airflow_ml.core.rollout_change import created
from airflow_ml.operators import reconciliation
from airflow_ml.operators.reconciliation import ReconcileRolloutsOperator
from airflow_ml.runtime.rollout import RolloutDriver
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.testing.rollout_world import ONE, PLAN, TWO, Metrics

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Time that passes by sleeping, and by a router that is slow."""

    def __init__(self) -> None:
        self.at = BEGAN

    def now(self, _zone: object = None) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class SlowRouter(MemoryRouter):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def write(self, traffic: Traffic) -> None:
        self._clock.sleep(5)
        super().write(traffic)


class Keeping(BaseNotifier):
    """Keeps what it is told, and fails at it once."""

    template_fields = ()

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    def notify(self, context: Any) -> None:
        self.told.append((context["rollout"]["model"], context["rollout"]["outcome"]))
        if len(self.told) == 1:
            raise OSError("no mail server")


def test_a_lease_that_runs_out_during_a_round_is_ended_by_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = Clock(), MemoryStore()
    router = SlowRouter(clock)
    leases = {"first": 20.0, "meanwhile": 23.0, "next_run": 100.0}
    for model, seconds in leases.items():
        state = created(
            None, plan=PLAN, model=model, namespace="prod", champion=ONE, challenger=TWO, owner="o", now=BEGAN,
            lease_seconds=seconds,
        )  # fmt: skip
        store.append(rollout_ref(model, "prod"), state.to_dict(), after=0)
    keeping = Keeping()
    operator = ReconcileRolloutsOperator(task_id="t", notifiers=[keeping])
    driver: Any = RolloutDriver(store, router, Metrics(router, 0.1), clock=clock.now)
    monkeypatch.setattr(reconciliation, "datetime", clock)
    monkeypatch.setattr(reconciliation.time, "sleep", clock.sleep)
    monkeypatch.setattr(ReconcileRolloutsOperator, "store", lambda self: store)
    monkeypatch.setattr(ReconcileRolloutsOperator, "namespace", "prod", raising=False)
    monkeypatch.setattr(ReconcileRolloutsOperator, "_driver_of", lambda self, state: driver)
    done: Any = operator.run({})  # type: ignore[arg-type]
    assert [(one["model"], one["action"]) for one in done] == [("first", "ended"), ("meanwhile", "ended")]
    assert keeping.told == [("first", "rolled_back"), ("meanwhile", "rolled_back")], "its own task tells nobody"
    assert clock.at < BEGAN + timedelta(seconds=40)
    entry = store.latest(rollout_ref("next_run", "prod"))
    assert entry is not None
    assert entry.value["state"] == "created"
