"""Up to every cause and down to every consequence, each once, past what is only passed on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.lineage import Lineage
from airflow_ml.core.provenance import Provenance, find_handles, record_digest
from airflow_ml.errors import ArtifactNotFound, ConfigurationError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def blob(digit: str) -> dict[str, Any]:
    return Artifact(digest="sha256:" + digit * 64, format="bytes", size_bytes=1, uri="file:///x").to_dict()


def thing(kind: str, digit: str, **more: Any) -> dict[str, Any]:
    return {"record": kind, "schema": 1, "artifact": blob(digit), **more}


def attempt(task: str, given: Any, made: Any, *, minute: int, outcome: str = "succeeded") -> Provenance:
    return Provenance(
        dag="d", run="r", task=task, namespace="prod", operator="x", airflow_ml="0", python="3", platform="p", cpu="c",
        cpus=2, environment="e", started_at=NOW, ended_at=NOW + timedelta(minutes=minute), outcome=outcome,
        inputs=tuple(find_handles("given", given)), outputs=tuple(find_handles("return", made)),
    )  # fmt: skip


SNAPSHOT, FEATURES, BOARD = thing("Snap", "a"), thing("Feat", "b", spine=blob("a")), thing("Board", "c")
PLAN = {"record": "Plan", "schema": 1, "data": FEATURES}
MODELS = [thing("ModelVersion", digit, name="churn", version=version) for digit, version in (("d", "1"), ("f", "2"))]
LINE = Lineage(
    [
        attempt("snapshot", None, SNAPSHOT, minute=1),
        attempt("gate", SNAPSHOT, [SNAPSHOT, thing("Report", "9")], minute=2),
        attempt("features", SNAPSHOT, FEATURES, minute=3),
        attempt("train", {"plan": PLAN}, BOARD, minute=4),
        attempt("broken", BOARD, thing("Never", "8"), minute=5, outcome="failed"),
        attempt("register", BOARD, MODELS[0], minute=6),
        attempt("register", BOARD, MODELS[1], minute=7),
    ]
)


def test_up_to_the_snapshot() -> None:
    steps = [(step.depth, step.record, step.made_by.task) for step in LINE.up(LINE.find("churn@1"))]
    assert steps == [
        (0, "ModelVersion", "register"),
        (1, "Board", "train"),
        (2, "Feat", "features"),
        (3, "Snap", "snapshot"),
    ]


def test_down_from_the_snapshot() -> None:
    steps = [(step.depth, step.record, step.made_by.task) for step in LINE.down(record_digest(SNAPSHOT))]
    assert steps == [
        (1, "Report", "gate"), (1, "Feat", "features"), (2, "Board", "train"), (3, "ModelVersion", "register"),
        (3, "ModelVersion", "register"),
    ]  # fmt: skip


def test_what_a_name_means() -> None:
    assert LINE.find("churn") == record_digest(MODELS[1])
    assert LINE.find("a" * 8) == LINE.find("sha256:" + "a" * 64) == "sha256:" + "a" * 64
    for name in ("churn@3", "aaa", "8" * 12):
        with pytest.raises(ArtifactNotFound, match="No task in the store"):
            LINE.find(name)
    twins = Lineage([attempt("t", None, [blob("a"), {**blob("a"), "digest": "sha256:" + "a" * 63 + "b"}], minute=1)])
    with pytest.raises(ConfigurationError, match="Several digests"):
        twins.find("a" * 20)
