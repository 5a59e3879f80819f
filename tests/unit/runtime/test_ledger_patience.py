"""A store that is away for a while costs a shard nothing: results wait, and trials go on."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.trials import TrialResult
from airflow_ml.errors import StoreUnavailable
from airflow_ml.runtime import ledger as module
from airflow_ml.runtime.ledger import Ledger


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class AwayStore(MemoryStore):
    away_until = 0.0
    clock: Clock
    asked = 0

    def append(self, ref: str, value: Any, *, after: int) -> Any:
        self.asked += 1
        if self.clock.now < self.away_until:
            raise StoreUnavailable("away", "", "Wait.")
        return super().append(ref, value, after=after)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> AwayStore:
    store = AwayStore()
    store.clock = Clock()
    monkeypatch.setattr(module, "time", store.clock)
    return store


def _result(number: int) -> TrialResult:
    return TrialResult(trial=f"t{number}", status="succeeded", metrics={"score": 1.0}, seconds=3.0)


def test_results_wait_while_the_store_is_away(store: AwayStore) -> None:
    told: list[str] = []
    ledger = Ledger(store, "r", batch_seconds=2.0, log=told.append)
    store.away_until = 300.0
    for number in range(400):
        store.clock.now += 1.0
        ledger.add(_result(number))
        ledger.tick()
    assert len(ledger.results) == len({*Ledger(store, "r", batch_seconds=2.0).results}) == 400
    assert store.asked < 200, "not at each trial"
    assert len(told) == 2
    assert "away" in told[0]
    assert "again" in told[1]


def test_the_end_waits_for_the_store(store: AwayStore) -> None:
    ledger = Ledger(store, "r", batch_seconds=2.0, log=lambda line: None)
    store.away_until = 300.0
    ledger.add(_result(1))
    ledger.finish()
    assert set(Ledger(store, "r", batch_seconds=2.0).results) == {"t1"}


def test_patience_ends(store: AwayStore) -> None:
    ledger = Ledger(store, "r", batch_seconds=2.0, log=lambda line: None)
    store.away_until = 1e9
    ledger.add(_result(1))
    store.clock.now += module.PATIENCE_SECONDS + 1
    with pytest.raises(StoreUnavailable):
        ledger.tick()
    with pytest.raises(StoreUnavailable):
        ledger.finish()
