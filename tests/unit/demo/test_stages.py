from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.gate import GateReport
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.testing.airflow_api import TaskState
from demo.stages import STAGES, Stage, gate_report, progress

START = datetime(2026, 1, 1, tzinfo=UTC)
SWEEP = next(stage for stage in STAGES if stage.name == "sweep")


def task(task_id: str, state: str | None, begin: float = 0, end: float | None = None, map_index: int = -1) -> TaskState:
    started = None if state in (None, "upstream_failed") else START + timedelta(seconds=begin)
    ended = None if end is None else START + timedelta(seconds=end)
    return TaskState(task_id, map_index, state, 1, started, ended)


def test_every_task_of_the_line_belongs_to_one_stage() -> None:
    tasks = [
        "snapshot",
        "gate_dataset",
        "build_features",
        "train.plan",
        "train.shards",
        "train.collect",
        "select_model",
    ]
    tasks += ["gate_model", "register_model", "canary", "predict", "monitor"]
    assert [sum(stage.has(one) for stage in STAGES) for one in tasks] == [1] * len(tasks)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "waiting"),
        ([task("train.plan", None)], "waiting"),
        ([task("train.plan", "running"), task("train.collect", None)], "running"),
        ([task("train.plan", "success", 0, 2), task("train.collect", "queued")], "running"),
        ([task("train.plan", "success", 0, 2), task("train.collect", "success", 3, 4)], "success"),
        ([task("train.plan", "failed", 0, 2), task("train.collect", "upstream_failed")], "failed"),
        ([task("train.plan", "upstream_failed"), task("train.collect", "upstream_failed")], "not run"),
        ([task("train.plan", "skipped", 0, 0), task("train.collect", "skipped", 0, 0)], "skipped"),
        # A lost shard is the sweep's to judge, and its collect judged.
        ([task("train.shards", "failed", 0, 9, map_index=1), task("train.collect", "success", 10, 11)], "success"),
        ([task("train.shards", "failed", 0, 9, map_index=1), task("train.collect", "failed", 10, 11)], "failed"),
    ],
)
def test_the_state_of_a_stage(states: list[TaskState], expected: str) -> None:
    assert progress(SWEEP, states).state == expected


def test_seconds_run_from_the_first_start_to_the_last_end() -> None:
    tasks = [task("train.plan", "success", 1, 3), task("train.collect", "success", 7, 9.5), task("snapshot", "running")]
    assert progress(SWEEP, tasks).seconds(START + timedelta(hours=1)) == 8.5


def test_seconds_of_a_stage_under_way_run_until_now() -> None:
    found = progress(SWEEP, [task("train.plan", "success", 1, 3), task("train.collect", None)])
    assert found.seconds(START + timedelta(seconds=21)) == 20
    assert progress(SWEEP, []).seconds(START) is None


def snapshot(rows: int) -> DatasetSnapshot:
    digest = "sha256:" + f"{rows:x}".rjust(64, "0")
    artifact = Artifact(digest=digest, format="parquet", size_bytes=10, uri="memory://", rows=rows)
    return DatasetSnapshot(
        name="flights", artifact=artifact, as_of=START, rows=rows, consistency="plain_read", statement_id="s",
        statement_digest=digest, source="snowflake",
    )  # fmt: skip


def report(kind: str, verdict: str) -> GateReport:
    return GateReport(subject="s", kind=kind, verdict=verdict, reason="r", checks=(), rows=7, quarantined=2)


def test_figures_say_what_the_record_says() -> None:
    figures = {stage.name: stage.figures for stage in STAGES}
    assert figures["snapshot"]([snapshot(80123)]).startswith("80,123 rows, 0000")
    assert figures["gate"]([snapshot(80121), report("dataset", "warn")]) == "warn, 2 rows quarantined"


def test_every_stage_has_nothing_to_say_before_its_record() -> None:
    assert {stage.figures(()) for stage in STAGES} == {""}


def test_gate_reports_are_told_apart_by_their_subject() -> None:
    records = [report("dataset", "pass"), report("model", "block")]
    assert getattr(gate_report(records, "dataset"), "verdict", None) == "pass"
    assert getattr(gate_report(records, "model"), "verdict", None) == "block"


def test_a_stage_is_not_mistaken_for_one_with_a_longer_name() -> None:
    stage = Stage("sweep", ("train.",), lambda records: "")
    assert not stage.has("train")
    assert not stage.has("trained.plan")
