"""Two runs side by side: what people changed first, what follows from it last, each once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.core.call import FunctionRef
from airflow_ml.core.code_text import code_diff
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.provenance import Provenance, find_handles
from airflow_ml.core.run_diff import diff_runs

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def artifact(digit: str, rows: int = 10, columns: tuple[str, ...] = ("a",)) -> Artifact:
    shape = tuple(Column(name=name, dtype="double") for name in columns)
    return Artifact(
        digest="sha256:" + digit * 64, format="parquet", size_bytes=1, uri="file:///x", rows=rows, columns=shape
    )


def feature_set(*features: str, digit: str = "1", rows: int = 10, view: str = "sha256:v") -> FeatureSet:
    return FeatureSet(
        view="delays", view_digest=view, definition=artifact("d"), artifact=artifact(digit, rows, features), as_of=NOW,
        key="id", predict_at="at", label="late", features=features, spine=artifact("e"), engine="duckdb",
    )  # fmt: skip


def attempt(task: str, result: Any = None, *, minute: int = 0, **fields: Any) -> Provenance:
    known: dict[str, Any] = {
        "dag": "d", "run": "r", "task": task, "namespace": "prod", "operator": "x", "airflow_ml": "0", "python": "3",
        "platform": "p", "cpu": "c", "cpus": 2, "environment": "sha256:e", "outcome": "succeeded",
        "started_at": NOW + timedelta(minutes=minute), "ended_at": NOW + timedelta(minutes=minute),
        "outputs": tuple(find_handles("return", result)),
    }  # fmt: skip
    return Provenance(**{**known, **fields})


def function(digit: str) -> FunctionRef:
    return FunctionRef(kind="source", module="dag.py", qualname="train", digest="sha256:" + digit * 64)


def told(before: list[Provenance], after: list[Provenance]) -> list[tuple[str, str, str]]:
    return [(change.kind, change.task, change.what) for change in diff_runs(before, after)]


def test_a_run_does_not_differ_from_itself() -> None:
    run = [attempt("features", feature_set("a")), attempt("train", function=function("a"), seed=1)]
    assert told(run, run) == []


def test_the_added_feature_comes_first_and_metrics_last() -> None:
    board = {"record": "Board", "schema": 1, "metrics": {"auc": 0.7}}
    before = [
        attempt("features", feature_set("a")),
        attempt("pass_on", feature_set("a")),
        attempt("train", board, function=function("a"), seed=1, params={"n": 3}),
    ]
    after = [
        attempt("features", feature_set("a", "b", digit="2", rows=12, view="sha256:w")),
        attempt("pass_on", feature_set("a", "b", digit="2", rows=12, view="sha256:w")),
        attempt("train", {**board, "metrics": {"auc": 0.9}}, function=function("b"), seed=2, params={"n": 4}),
    ]
    assert told(before, after) == [
        ("features", "features", "view delays: feature b added"),
        ("code", "train", "function train: aaaaaaaaaaaa > bbbbbbbbbbbb"),
        ("params", "train", "params.n: 3 > 4"),
        ("params", "train", "seed: 1 > 2"),
        ("data", "features", "FeatureSet column b: absent > double"),
        ("data", "features", "FeatureSet rows: 10 > 12"),
        ("metrics", "train", "Board metrics.auc: 0.7 > 0.9"),
    ]


@pytest.mark.parametrize(
    ("features", "view", "what"),
    [
        (("a",), "sha256:w", "view delays: definition changed, same features"),
        ((), "sha256:w", "view delays: feature a removed"),
    ],
)
def test_other_changes_of_a_view(features: tuple[str, ...], view: str, what: str) -> None:
    after = attempt("features", feature_set(*features, view=view))
    assert told([attempt("features", feature_set("a"))], [after])[0][2] == what


def test_outcomes_and_tasks_of_one_run() -> None:
    failed = replace(attempt("b"), outcome="failed", error="ValueError: x")
    assert told([attempt("a"), attempt("b")], [failed, attempt("c")]) == [
        ("outcome", "b", "succeeded > failed: ValueError: x"),
        ("outcome", "a", "ran in the first run only"),
        ("outcome", "c", "ran in the second run only"),
    ]


def test_code_is_told_line_by_line() -> None:
    packages = [
        {"definitions": {"1": {"name": "f", "source": f"def f():\n    return {n}\n"}}, "files": {}} for n in (1, 2)
    ]
    assert list(code_diff(*packages))[-2:] == ["-    return 1", "+    return 2"]
    assert list(code_diff(packages[0], packages[0])) == []
