"""Every example DAG runs, against a real warehouse, MLflow and gateway, in one process without a scheduler."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.child_process import ChildProcess

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.timeout(600)]

#: In this order: the canary installs what registration registered, and monitoring scores with it.
PLAN: Mapping[str, dict[str, Any]] = {
    "snapshot": {"dag": "example_snapshot"},
    "gate": {"dag": "example_gate"},
    "gate_blocks": {"dag": "example_gate_blocks"},
    "features": {"dag": "example_features"},
    "hindsight": {"dag": "example_features", "conf": {"view": "example_hindsight"}},
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
    "versions": {"dag": "example_versions"},
    "versions again": {"dag": "example_versions"},
    "ml task": {"dag": "ml_task"},
    "mapped over one": {"dag": "ml_mapped_over_one"},
    "monitoring": {"dag": "example_monitoring"},
    "monitoring again": {"dag": "example_monitoring"},
}
FAILING = ("gate_blocks", "hindsight", "mapped over one", "canary_shadow", "canary_warehouse again")
Results = Mapping[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(parts: Any, dags_examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    home = tmp_path_factory.mktemp("examples")
    folder = shutil.copytree(dags_examples, home / "dags")
    shutil.copy(Path(__file__).with_name("dags") / "ml_task.py", folder)
    airflow = AirflowInstance(home, folder, connections=parts.connections, env=parts.environment)
    airflow.prepare()
    parts.wait_ready()
    out = home / "results.json"
    program = str(Path(__file__).with_name("run_dags.py"))
    command = [sys.executable, program, str(folder), json.dumps(list(PLAN.values())), str(out)]
    process = ChildProcess("dags", command, log_path=home / "dags.log", env=airflow.environment(), cwd=home)
    try:
        process.wait_success(timeout_seconds=480)
        assert airflow.running() == []
    finally:
        airflow.stop()
    found = dict(zip(PLAN, json.loads(out.read_text()), strict=True))
    print({name: one["seconds"] for name, one in found.items()})
    return found


def xcom(found: Mapping[str, Any], task: str, key: str = "return_value") -> Any:
    return found["xcoms"][task][key]


def states(found: Mapping[str, Any]) -> dict[str, set[str]]:
    return {task: set(each) for task, each in found["tasks"].items()}


@pytest.mark.parametrize("name", [name for name in PLAN if name not in FAILING])
def test_every_task_succeeds(results: Results, name: str) -> None:
    found = results[name]
    assert found["state"] == "success"
    assert set().union(*states(found).values()) == {"success"}


def test_each_example_is_played(dags_examples: Path) -> None:
    played = {one["dag"].removeprefix("example_").removesuffix("_blocks") for one in PLAN.values()}
    played = {name for name in played if not name.startswith("ml_")}
    assert played == {path.stem for path in dags_examples.glob("*.py")} - {"flight_delays"}


def test_snapshot(results: Results) -> None:
    flights, airports = (xcom(results["snapshot"], task) for task in ("snapshot", "airports"))
    assert (flights["as_of"], flights["consistency"]) == ("2013-01-20T00:00:00Z", "plain_read")
    assert 4_000 < flights["rows"] < xcom(results["gate"], "snapshot")["rows"], "one airport's flights, not all"
    assert airports["rows"] == 1_458
    told = xcom(results["snapshot"], "tell")
    assert [text.partition(":")[0] for text in told] == ["snapshot", "airports"]
    assert flights["artifact"]["digest"] in told[0]


def test_gate_quarantines_and_warns(results: Results) -> None:
    report, clean = xcom(results["gate"], "gate_dataset", "report"), xcom(results["gate"], "gate_dataset")
    assert report["verdict"] == "warn"
    assert report["quarantined"] == report["quarantine"]["rows"] > 0
    assert clean["rows"] == xcom(results["gate"], "snapshot")["rows"] - report["quarantined"]
    broken = {one["name"]: one["severity"] for one in report["checks"] if not one["passed"]}
    assert set(broken.values()) == {"critical", "warning"}


def test_gate_blocks(results: Results) -> None:
    found = results["gate_blocks"]
    assert found["state"] == "failed"
    assert states(found) == {
        "snapshot": {"success"},
        "gate_dataset": {"failed"},
        "learn": {"upstream_failed"},
        "tell": {"success"},
    }
    assert xcom(found, "gate_dataset", "report")["verdict"] == "block"
    assert "return_value" not in found["xcoms"]["gate_dataset"], "nothing is passed on"
    assert len(xcom(found, "tell")) == 4


def test_features(results: Results) -> None:
    built = xcom(results["features"], "build_features")
    assert set(built["split_rows"]) == {"train", "validate", "test"}
    assert all(rows > 1_000 for rows in built["split_rows"].values())
    assert {"temp", "seats", "late_mean_6h_by_origin"} < set(built["features"])
    assert set(built["sources"]) == {"weather", "planes", "flights"}


def test_a_view_with_hindsight_stops_the_line(results: Results) -> None:
    assert results["hindsight"]["state"] == "failed"
    assert states(results["hindsight"])["build_features"] == {"failed"}


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


def test_versions(results: Results) -> None:
    """One artifact for each carrier, mapped; the second run does none of it again, to the last bit."""
    first, second = results["versions"], results["versions again"]
    carriers = xcom(first, "by_carrier")
    assert {one["record"] for one in carriers} == {"Artifact"}
    assert len(first["tasks"]["interval"]) == len(carriers) == len(xcom(first, "tell")) > 5
    assert xcom(first, "table")["digest"] == xcom(second, "table")["digest"], "the cached draws are the first ones"


def test_ml_task_in_every_way(results: Results) -> None:
    """Mapped, partial, overridden, in a group, with multiple outputs, retried, templated, beside plain tasks."""
    found = results["ml task"]
    assert len(found["tasks"]["scaled"]) == 3
    total = xcom(found, "inside.joined")
    assert {name: total[name] for name in ("rows", "sum")} == {"rows": 6, "sum": 120}
    assert total["run_id"] == xcom(found, "rendered") != ""
    halves = found["xcoms"]["inside.halves"]
    assert (halves["rows"], halves["head"]["rows"], halves["tail"]["format"]) == (1, 1, "parquet")
    assert xcom(found, "plain_reader") == [120, "parquet", 1]
    assert xcom(found, "long_list", "numbers")["format"] == "json", "above 32 KiB it is an artifact"
    assert xcom(found, "counted") == xcom(found, "counted_again") == 20_000


def test_mapping_over_one_record_is_refused(results: Results) -> None:
    assert states(results["mapped over one"]) == {"one": {"failed"}, "never": {"upstream_failed"}}
