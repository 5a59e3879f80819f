"""The examples of data and of functions are played as they are; those of models have their own module."""

from __future__ import annotations

from pathlib import Path

import pytest

from .example_runs import Plan, Results, outcomes, states, xcom
from .test_example_models import PLAN as MODELS

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.timeout(600)]

PLAN: Plan = {
    "snapshot": {"dag": "example_snapshot"},
    "gate": {"dag": "example_gate"},
    "gate_blocks": {"dag": "example_gate_blocks"},
    "features": {"dag": "example_features"},
    "hindsight": {"dag": "example_features", "conf": {"view": "example_hindsight"}},
    "versions": {"dag": "example_versions"},
    "versions again": {"dag": "example_versions"},
    "ml task": {"dag": "ml_task"},
    "mapped over one": {"dag": "ml_mapped_over_one"},
}
FAILING = ("gate_blocks", "hindsight", "mapped over one")


@pytest.mark.parametrize("name", [name for name in PLAN if name not in FAILING])
def test_every_task_succeeds(results: Results, name: str) -> None:
    assert outcomes(results[name]) == {"success"}


def test_each_example_is_played(dags_examples: Path) -> None:
    played = {one["dag"].removeprefix("example_").removesuffix("_blocks") for one in {**PLAN, **MODELS}.values()}
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
