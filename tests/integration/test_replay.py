"""The demo's traffic against a real gateway: real flights, real views, real models."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
from airflow_ml.core.feature_view import AsOf, FeatureView, Label, Rolling
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import ColumnMissing
from airflow_ml.gateway.split import assign
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import store_models
from demo import flights
from demo.replay import Progress, TrafficReplay
from demo.serving_features import ServingFeatures, published

pytestmark = pytest.mark.integration
START = date(2013, 5, 1)
FLIGHT = {"key": "flight_id", "predict_at": "predict_at", "label": Label("late", known_at="landed_at")}
PLAIN = FeatureView("plain", inputs=["distance", "sched_minute"], **FLIGHT)  # type: ignore[arg-type]
RICH = FeatureView(
    "rich",
    inputs=["distance", "sched_minute", "sched_weekday"],
    joins=[
        AsOf("weather", by="origin", time="observed_at", delay="20min", max_age="3h", columns=["temp"]),
        Rolling("flights", by="origin", mean="late", known_at="landed_at", window="6h"),
    ],
    **FLIGHT,  # type: ignore[arg-type]
)


@pytest.fixture(scope="module")
def router(one_gateway: LocalGateway) -> GatewayRouter:
    return GatewayRouter(one_gateway.url, one_gateway.token)


@pytest.fixture(scope="module")
def features(served_store: FolderStore) -> ServingFeatures:
    return ServingFeatures(served_store)


def variant_of(store: FolderStore, version: str, view: FeatureView) -> dict[str, JSON]:
    """A model of a view that knows the mean only, and says it a little differently in each version."""
    frame = pd.DataFrame({name: [0.0, 1.0] for name in view.features})
    model = make_pipeline(SimpleImputer(), Ridge()).fit(frame, [0.1 + int(version) / 10] * 2)
    definition = store.put_bytes(json.dumps(view.to_dict()).encode(), format="json")
    return {
        "version": version,
        "models": store_models(store, model, view.features).to_dict(),
        "view_digest": view.digest,
        "features": list(view.features),
        "view_definition": definition.to_dict(),
    }


@pytest.fixture
def traffic(served_store: FolderStore, request: pytest.FixtureRequest) -> Traffic:
    return Traffic(
        model=f"m-{abs(hash(request.node.name))}",
        epoch=1,
        champion=variant_of(served_store, "1", PLAIN),
        challenger=variant_of(served_store, "2", RICH),
        weight_percent=50.0,
        expires_at=None,
        salt="replay",
    )


def test_two_days_arrive_whole(router: GatewayRouter, features: ServingFeatures, traffic: Traffic) -> None:
    router.write(traffic)
    days = list(flights.replay_days(START, 2))
    told: list[int] = []
    replay = TrafficReplay(
        router, traffic.model, features, days, seconds_per_day=0, tell=lambda progress: told.append(progress.days)
    )
    progress = replay.run(threading.Event(), wait_for_split_seconds=5)
    requests = pd.concat([day.requests for day in days])
    outcomes = pd.concat([day.outcomes for day in days])
    assert told[:2] == [1, 2]
    assert (progress.errors, progress.fallbacks, progress.outcomes) == (0, 0, len(requests))
    arms = [
        assign("replay", tail if isinstance(tail, str) else f"flight-{key}", 50.0)
        for tail, key in zip(requests["tailnum"], requests["flight_id"], strict=True)
    ]
    assert progress.requests == {"champion": arms.count("champion"), "challenger": arms.count("challenger")}

    reading = GatewayMetrics(router.address).read(traffic.model, metric="brier", epoch=1)
    complete = [sample for sample in reading.samples if sample.stratum.endswith(("05-01", "05-02"))]
    assert sum(sample.waiting for sample in reading.samples) == 0
    utc_day = requests["predict_at"].dt.strftime("%Y-%m-%d").to_numpy()
    labelled = outcomes["late"].notna().to_numpy()
    for sample in complete:
        day = sample.stratum.partition("/")[2]
        wanted = labelled & (utc_day == day) & (pd.Series(arms) == sample.variant).to_numpy()
        assert sample.requests == int(wanted.sum())
        score = 0.2 if sample.variant == "champion" else 0.3
        error = (score - outcomes["late"][wanted].astype(float)) ** 2
        assert sample.sum_x == pytest.approx(float(error.sum()), rel=1e-6)
    assert len(complete) == 4


def test_it_ends_with_the_rollout_not_its_owner(
    router: GatewayRouter, features: ServingFeatures, traffic: Traffic
) -> None:
    router.write(traffic)

    def finish(progress: Progress) -> None:
        if progress.days == 1:
            router.write(replace(traffic, epoch=2))
        if progress.days == 2:
            router.write(replace(traffic, epoch=3, challenger=None, weight_percent=0.0))

    days = flights.replay_days(START, 5)
    replay = TrafficReplay(router, traffic.model, features, days, seconds_per_day=0, tell=finish)
    assert replay.run(threading.Event(), until_rollout_ends=True).days == 2


def test_it_stops_when_told(router: GatewayRouter, features: ServingFeatures, traffic: Traffic) -> None:
    router.write(traffic)
    stop = threading.Event()
    days = flights.replay_days(START, 5)
    replay = TrafficReplay(router, traffic.model, features, days, seconds_per_day=0, tell=lambda progress: stop.set())
    assert replay.run(stop).days == 1


def test_features_know_nothing_from_after_the_prediction(served_store: FolderStore, features: ServingFeatures) -> None:
    (day,) = flights.replay_days(START, 1)
    noon = datetime(2013, 5, 1, 12, tzinfo=UTC)
    early = published(day.requests[day.requests["predict_at"] <= noon])
    weather, table = flights.weather(), flights.flights()
    history = {
        "weather": weather[weather["observed_at"] <= noon - timedelta(minutes=20)],
        "flights": table[table["known_at"] <= noon],
    }
    blind = ServingFeatures(served_store, history)
    challenger = variant_of(served_store, "2", RICH)
    whole = features.build(published(day.requests), challenger)
    cut = blind.build(early, challenger)
    assert len(cut) == len(early) > 100
    assert all(whole[key] == values for key, values in cut.items())
    assert any(values["late_mean_6h_by_origin"] is not None for values in cut.values())


def test_an_input_that_requests_lack_is_an_error_not_a_null(
    served_store: FolderStore, features: ServingFeatures
) -> None:
    (day,) = flights.replay_days(START, 1)
    with pytest.raises(ColumnMissing, match="sched_weekday"):
        features.build(day.requests, variant_of(served_store, "2", RICH))
