"""Metrics as Airflow's backend gets them, and notifiers that fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability import stats

from airflow_ml.hooks.rollout_signals import emit_metrics, notify, start_metrics
from airflow_ml.runtime.rollout_evidence import closing_record
from airflow_ml.testing.rollout_world import World


class Backend(NoStatsLogger):
    """What Airflow would send to StatsD or OpenTelemetry, by name."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[float, dict[str, str]]] = {}

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: Any = None) -> None:
        self.told[stat] = (count, tags)

    def gauge(self, stat: str, value: float, rate: float = 1, delta: bool = False, *, tags: Any = None) -> None:
        self.told[stat] = (value, tags)


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    stats.initialize(factory=lambda: made, export_legacy_names=False)
    yield made
    stats.initialize(factory=NoStatsLogger, export_legacy_names=False)


def test_a_look_tells_decision_weight_and_lease(backend: Backend) -> None:
    world = World()
    state = replace(world.look(world.begin()), lease_expires_at=datetime.now(UTC) + timedelta(seconds=180))
    emit_metrics(state)
    assert set(backend.told) == {
        "airflow_ml.rollout.weight_percent",
        "airflow_ml.rollout.lease_seconds_left",
        "airflow_ml.rollout.flights.weight_percent",
        "airflow_ml.rollout.flights.lease_seconds_left",
        "airflow_ml.rollout.decisions",
        "airflow_ml.rollout.flights.decisions.advance",
    }
    assert backend.told["airflow_ml.rollout.flights.weight_percent"][0] == 5.0
    assert 100 < backend.told["airflow_ml.rollout.lease_seconds_left"][0] <= 180
    tags = {"model": "flights", "namespace": "prod", "state": "running"}
    assert backend.told["airflow_ml.rollout.decisions"] == (1, {**tags, "action": "advance"})


def test_an_end_has_no_lease(backend: Backend) -> None:
    world = World()
    emit_metrics(world.driver.roll_back(world.begin(), "over"), looked=False)
    assert backend.told["airflow_ml.rollout.flights.lease_seconds_left"][0] == 0.0
    assert len(backend.told) == 4


def test_without_a_configured_backend_nothing_happens() -> None:
    start_metrics()
    emit_metrics(World().begin())


class Failing(BaseNotifier):
    def notify(self, context: Any) -> None:
        raise ConnectionError("no chat")


class Keeping(BaseNotifier):
    seen: list[Any]

    def notify(self, context: Any) -> None:
        self.seen = [context["rollout"]["outcome"]]


def test_a_notifier_that_fails_keeps_no_other_from_being_called(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    record = closing_record(world.driver.roll_back(world.begin(), "over"))
    keeping = Keeping()
    notify([Failing(), keeping], {}, record, logging.getLogger("test"))  # type: ignore[typeddict-item, arg-type]
    assert keeping.seen == ["rolled_back"]
    assert "no chat" in caplog.text
