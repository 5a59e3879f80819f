from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.canary import Rollout
from airflow_ml.core.gate import GateReport
from airflow_ml.core.record import Record
from airflow_ml.core.snapshot import DatasetSnapshot
from demo.stages import STAGES, Progress
from demo.summary import run_summary, write_summary

START = datetime(2026, 1, 1, tzinfo=UTC)


def artifact(rows: int) -> Artifact:
    digest = "sha256:" + f"{rows:x}".rjust(64, "0")
    return Artifact(digest=digest, format="parquet", size_bytes=10, uri="memory://", rows=rows)


def snapshot(rows: int) -> DatasetSnapshot:
    return DatasetSnapshot(
        name="flights", artifact=artifact(rows), as_of=START, rows=rows, consistency="plain_read", statement_id="s",
        statement_digest=artifact(rows).digest, source="snowflake",
    )  # fmt: skip


RECORDS: list[Record] = [
    snapshot(100),
    snapshot(98),
    GateReport(subject="s", kind="dataset", verdict="warn", reason="2 bad rows", checks=(), rows=100, quarantined=2),
    Rollout(
        model="flight_delays", namespace="prod", champion="1", challenger="2", outcome="promoted", reason="better",
        epoch=2, weights=(5.0, 25.0), samples={"champion": 90, "challenger": 10}, data_days=8,
    ),
]  # fmt: skip


def test_a_run_tells_what_its_records_say() -> None:
    ended = Progress(STAGES[0], "success", 1, 1, START, START + timedelta(seconds=4.26))
    found = run_summary("2 better challenger", "promoted", RECORDS, [ended], START)
    assert found["name"] == "2 better challenger"
    assert found["outcome"] == "promoted"
    assert found["snapshot"]["rows"] == 100, "of the warehouse's snapshot, not of the one without the quarantined rows"
    assert found["snapshot"]["digest"] == artifact(100).digest
    assert found["gate"] == {"verdict": "warn", "reason": "2 bad rows", "quarantined": 2}
    assert found["rollout"]["steps"] == [5.0, 25.0]
    assert found["rollout"]["samples"] == {"champion": 90, "challenger": 10}
    assert found["seconds"] == {"snapshot": 4.3}


def test_a_stage_without_a_record_is_absent() -> None:
    waiting = Progress(STAGES[1], "waiting", 0, 0, None, None)
    assert run_summary("1", "stopped at snapshot", [], [waiting], START) == {
        "name": "1",
        "outcome": "stopped at snapshot",
        "seconds": {},
    }


def test_the_summary_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "summary.json"
    write_summary(path, {"runs": [run_summary("1", "promoted", RECORDS, [], START)]})
    assert json.loads(path.read_text())["runs"][0]["rollout"]["data_days"] == 8
    assert [one.name for one in path.parent.iterdir()] == ["summary.json"]


def test_what_is_no_json_leaves_the_old_summary(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_summary(path, {"runs": []})
    with pytest.raises(ValueError, match="JSON"):
        write_summary(path, {"runs": [float("nan")]})
    assert json.loads(path.read_text()) == {"runs": []}
