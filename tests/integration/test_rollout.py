"""A rollout through a real gateway: real HTTP, real models, a store on disk, traffic day by day."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.record import JSON
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import MetricUnreadable, RouterFailed
from airflow_ml.runtime.rollout import RolloutDriver
from airflow_ml.runtime.rollout_evidence import closing_record
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, variant

pytestmark = pytest.mark.integration
PLAN = parse_plan([(20, "1d"), (50, "1d"), 100], max_data_days=10, guardrails=[("mae", 0.05)])


def driver_of(router: GatewayRouter, store: FolderStore) -> RolloutDriver:
    return RolloutDriver(store, router, GatewayMetrics(router.address), clock=lambda: datetime.now(UTC))


class Flights:
    """400 units a day, each with two requests whose outcome is always 1; the day after, outcomes are complete."""

    def __init__(self, router: GatewayRouter, model: str, variants: list[dict[str, JSON]]) -> None:
        self.day = datetime(2013, 5, 1, tzinfo=UTC)
        self._router, self._model, self._variants = router, model, variants

    def pass_day(self) -> None:
        rows: list[dict[str, JSON]] = [
            {
                "key": f"{self.day:%m%d}-{unit}-{leg}",
                "unit": f"N{unit}",
                "at": (self.day + timedelta(hours=6 + leg)).isoformat(),
                "features": {
                    str(found["view_digest"]): {name: 0.3 + unit / 1000 + leg / 50 + self.day.day % 3 / 50}
                    for found, name in zip(self._variants, ("x", "z"), strict=True)
                },
            }
            for unit in range(400)
            for leg in range(2)
        ]
        self._router.predict(self._model, rows)
        self.day += timedelta(days=1)
        outcomes: list[dict[str, JSON]] = [
            {"key": row["key"], "label": 1.0, "known_at": self.day.isoformat()} for row in rows
        ]
        self._router.send_outcomes(self._model, outcomes, watermark_at=self.day.isoformat())


@pytest.mark.parametrize(("shift", "outcome", "serves"), [(0.2, "promoted", "2"), (-0.2, "rolled_back", "1")])
def test_a_rollout_through_the_gateway(
    one_gateway: LocalGateway, served_store: FolderStore, shift: float, outcome: str, serves: str
) -> None:
    model = f"flights{serves}"
    variants = [
        variant("1", identity_models(served_store), ["x"]),
        variant("2", identity_models(served_store, "z", shift=shift), ["z"]),
    ]
    router = GatewayRouter(one_gateway.url, one_gateway.token)
    driver = driver_of(router, served_store)
    installed = driver.install(PLAN, model, "prod", variants[0], "first")
    assert installed.state == "installed"
    flights = Flights(router, model, variants)
    state: RolloutState = driver.begin(PLAN, model, "prod", variants[0], variants[1], "second")
    for _ in range(10):
        state = driver.look(state)
        if not state.live:
            break
        flights.pass_day()
    record = closing_record(state)
    assert record.outcome == outcome
    assert record.effect is not None
    assert record.effect * shift < 0
    assert state.last_look is not None
    (guardrail,) = state.last_look.guardrails
    assert (guardrail.metric, guardrail.held, guardrail.broken) == ("mae", shift > 0, shift < 0)
    assert record.evidence is not None
    assert record.evidence.rows == record.looks
    seen = router.read(model)
    assert seen is not None
    assert (seen.champion["version"], seen.challenger, seen.weight_percent) == (serves, None, 0.0)


@pytest.mark.long
def test_a_careful_rollout_of_two_challengers(one_gateway: LocalGateway, served_store: FolderStore) -> None:
    """The champion against itself, then everybody in shadow, a split; the best of two better ones is promoted."""
    variants = [
        variant("1", identity_models(served_store), ["x"]),
        variant("2", identity_models(served_store, "z", shift=0.1), ["z"]),
        variant("3", identity_models(served_store, "z", shift=0.2), ["z"]),
    ]
    steps = [("aa", "1d"), ("shadow", "4d"), (20, "1d"), 100]
    plan = parse_plan(steps, challengers=2, guardrails=[("mae", 0.05)])
    router = GatewayRouter(one_gateway.url, one_gateway.token)
    driver = driver_of(router, served_store)
    driver.install(PLAN, "careful", "prod", variants[0], "first")
    flights = Flights(router, "careful", variants[:2])
    state = driver.begin(plan, "careful", "prod", variants[0], variants[1], "second", others=[variants[2]])
    kinds = []
    for _ in range(14):
        state = driver.look(state)
        if not state.live:
            break
        kinds.append(state.kind)
        flights.pass_day()
    record = closing_record(state)
    assert (record.outcome, record.challenger) == ("promoted", "3"), record.reason
    assert list(dict.fromkeys(kinds)) == ["aa", "shadow", "split"]
    assert [(one.version, one.worse, one.stopped) for one in record.arms] == [("2", False, ""), ("3", False, "")]
    assert record.evidence is not None
    looks = [json.loads(line) for line in served_store.get_bytes(record.evidence).splitlines()]
    pairs = [look for look in looks if look["kind"] == "shadow" and look["arms"][0]["effect"] is not None]
    assert pairs
    assert pairs[-1]["arms"][1]["effect"] < pairs[-1]["arms"][0]["effect"] < 0
    seen = router.read("careful")
    assert seen is not None
    assert (seen.champion["version"], seen.challenger, seen.others) == ("3", None, ())


def test_a_challenger_whose_models_are_gone_is_refused_and_the_champion_stays(
    one_gateway: LocalGateway, served_store: FolderStore
) -> None:
    router = GatewayRouter(one_gateway.url, one_gateway.token)
    driver = driver_of(router, served_store)
    good = variant("1", identity_models(served_store), ["x"])
    driver.install(PLAN, "gone", "prod", good, "first")
    models: dict[str, JSON] = {**identity_models(served_store).to_dict(), "digest": "sha256:" + "0" * 64}
    with pytest.raises(RouterFailed):
        driver.begin(PLAN, "gone", "prod", good, {**good, "version": "9", "models": models}, "second")
    newest = driver.latest("gone", "prod")
    assert newest is not None
    assert newest.state == "rolled_back"
    seen = router.read("gone")
    assert seen is not None
    assert (seen.champion["version"], seen.challenger) == ("1", None)


def test_an_unknown_metric_is_refused_before_any_traffic(one_gateway: LocalGateway, served_store: FolderStore) -> None:
    router = GatewayRouter(one_gateway.url, one_gateway.token)
    driver = driver_of(router, served_store)
    good = variant("1", identity_models(served_store), ["x"])
    driver.install(PLAN, "metric", "prod", good, "first")
    plan = parse_plan([50], metric="brierr")
    guarded = parse_plan([50], guardrails=[("maee", 0.1)])
    with pytest.raises(MetricUnreadable, match="maee"):
        driver.begin(guarded, "metric", "prod", good, {**good, "version": "2"}, "guarded")
    with pytest.raises(MetricUnreadable, match="brierr"):
        driver.begin(plan, "metric", "prod", good, {**good, "version": "2"}, "second")
