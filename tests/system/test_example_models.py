"""The examples of models are played as they are: sweeps, calls, registration, rollouts and monitoring."""

from __future__ import annotations

from typing import Any

import pytest

from .example_runs import Plan, Results, outcomes, states, xcom

pytestmark = [
    pytest.mark.system,
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("serving"),
]

#: In this order: the canary installs what registration registered, and monitoring scores with it.
PLAN: Plan = {
    "sweep": {"dag": "example_sweep"},
    "compute": {"dag": "example_compute"},
    "reap": {"dag": "example_reap"},
    "selection": {"dag": "example_selection"},
    "registration": {"dag": "example_registration"},
    "registration again": {"dag": "example_registration"},
    "canary": {"dag": "example_canary"},
    "canary_shadow": {"dag": "example_canary_shadow"},
    "canary_warehouse": {"dag": "example_canary_warehouse"},
    "canary_warehouse again": {"dag": "example_canary_warehouse"},
    "reconcile": {"dag": "example_reconcile"},
    "monitoring": {"dag": "example_monitoring"},
    "monitoring again": {"dag": "example_monitoring"},
}
FAILING = ("canary_shadow", "canary_warehouse again")


@pytest.mark.parametrize("name", [name for name in PLAN if name not in FAILING])
def test_every_task_succeeds(results: Results, name: str) -> None:
    assert outcomes(results[name]) == {"success"}


def test_sweep(results: Results) -> None:
    board, plan = xcom(results["sweep"], "train.collect"), xcom(results["sweep"], "train.plan", "plan")
    assert 180 <= plan["groups"] == board["groups"] <= 220
    assert board["trials"] == 4 * board["groups"]
    assert board["succeeded"] >= 0.9 * board["trials"]
    assert len(results["sweep"]["tasks"]["train.shards"]) == plan["shards"] == 2
    assert board["report"]["format"] == "json"
    assert states(results["sweep"])["train.track"] == {"success"}
    assert 0 <= board["best"]["value"] < 0.25, "on some routes every flight to validate on was in time"


def test_many_calls_of_one_function(results: Results) -> None:
    draws, found = xcom(results["compute"], "late_share"), xcom(results["compute"], "interval")
    assert (draws["record"], draws["calls"], draws["succeeded"]) == ("CallResults", 200, 200)
    assert found["draws"] == 200
    assert 0 < found["low"] < found["high"] < 1, "each call drew by a seed of its own"


def test_selection(results: Results) -> None:
    selection, report = xcom(results["selection"], "gate_model"), xcom(results["selection"], "gate_model", "report")
    assert (selection["groups"], selection["refit"]) == (3, "train+validate")
    assert selection == xcom(results["selection"], "select_model"), "a gate passes its subject on"
    assert report["verdict"] in ("pass", "warn")
    assert report["rows"] == xcom(results["selection"], "build_features")["split_rows"]["test"]


def test_registration_again_is_the_same_version(results: Results) -> None:
    first, second = (xcom(results[name], "register_model") for name in ("registration", "registration again"))
    assert (first["name"], first["version"], first["alias"]) == ("example_delays", "1", "challenger")
    assert (second["version"], second["run_id"], second["model_digest"]) == (
        "1",
        first["run_id"],
        first["model_digest"],
    )
    statements = {xcom(results[name], "snapshot")["statement_id"] for name in ("registration", "registration again")}
    assert len(statements) == 2, "the whole line ran twice"
    assert xcom(results["registration again"], "train.shards")["ran"] == 0, "no finished trial runs again"


def test_canary_installs_the_first_champion(results: Results, parts: Any) -> None:
    rollout = xcom(results["canary"], "canary")
    assert (rollout["outcome"], rollout["champion"], rollout["challenger"]) == ("installed", "", "1")
    from airflow_ml.adapters.gateway import GatewayRouter

    traffic = GatewayRouter(parts.gateway.url, token=parts.gateway.token).read("example_delays")
    assert traffic is not None
    assert traffic.champion["version"] == "1"


def test_the_warehouse_divides_its_own_rows(results: Results, parts: Any) -> None:
    found = results["canary_warehouse"]
    rollout, scores = xcom(found, "canary"), xcom(found, "predict")
    assert (rollout["outcome"], rollout["challenger"]) == ("installed", "1")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in parts.warehouse.environment().items():
            patch.setenv(name, value)
        connection = parts.warehouse.connect()
        exposed = connection.cursor().execute(
            "SELECT model, assigned, step, COUNT(*), COUNT(DISTINCT key) FROM airflow_ml_exposures GROUP BY 1, 2, 3"
        )
        rows = exposed.fetchall()
        connection.close()
    assert rows == [("example_batch_delays", "champion", "0", scores["rows"], scores["rows"])]


def test_a_release_without_a_new_version_says_so(results: Results) -> None:
    assert states(results["canary_shadow"])["canary"] == {"failed"}, "the challenger is the champion already"
    found = results["canary_warehouse again"]
    assert states(found)["canary"] == {"failed"}
    assert states(found)["register_model"] == {"success"}


def test_the_reconciler_finds_nothing_that_was_lost(results: Results) -> None:
    assert xcom(results["reconcile"], "reconcile_rollouts") == []


def test_monitoring_writes_no_row_twice(results: Results, parts: Any) -> None:
    first, second = (xcom(results[name], "predict") for name in ("monitoring", "monitoring again"))
    assert (first["version"], first["table"]) == ("1", "example_scores")
    assert first["rows"] == second["rows"] > 1_000
    assert first["artifact"]["digest"] == second["artifact"]["digest"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in parts.warehouse.environment().items():
            patch.setenv(name, value)
        connection = parts.warehouse.connect()
        (count,) = connection.cursor().execute("SELECT COUNT(*) FROM example_scores").fetchone()
        connection.close()
    assert count == first["rows"]


def test_monitoring_measures_drift_and_live_error(results: Results) -> None:
    report = xcom(results["monitoring"], "monitor")
    assert report["rows"] == xcom(results["monitoring"], "predict")["rows"]
    assert 0 < report["outcomes"] < report["rows"], "some flights of the last day are still in the air"
    assert report["measures"]
    assert all(0 < error < 0.5 for error in report["error_by_week"].values())
    assert report == xcom(results["monitoring again"], "monitor")
