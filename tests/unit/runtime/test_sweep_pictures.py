"""Importance of parameters, and pictures, of sweeps whose truth is known."""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import TrialResult
from airflow_ml.errors import MissingDependency
from airflow_ml.runtime.context import CallContext, running
from airflow_ml.runtime.leaderboard import collect
from airflow_ml.runtime.ledger import Ledger
from airflow_ml.runtime.shard import planned_trials
from airflow_ml.runtime.sweep_pictures import draw_sweep, read_report, require_pictures

TEXT = "def train(data, params, trial):\n    return 1.0\n"
SPACE = {
    "rate": {"distribution": "log_uniform", "low": 1e-3, "high": 0.5},
    "kind": {"distribution": "choice", "values": ["gbdt", None, [1, 2]]},
    "noise": {"distribution": "uniform", "low": 0, "high": 1},
}


def draw(folder: Path, *, value: Any, lines: list[str], **options: Any) -> dict[str, Any]:
    """Commit results of a known function and draw them."""
    plan, store = plan_of(folder, TEXT, trials_per_group=40, **{"space": SPACE, **options})
    book = Ledger(store, shard_ref(plan.sweep, 0, plan.shards), batch_seconds=1000.0)
    for number, trial in enumerate(planned_trials(plan, store)):
        if number % 10 == 7:
            book.add(TrialResult(trial=trial.trial, status="failed", reason="x"))
        else:
            metrics = {"score": value(trial.params, trial.group)}
            book.add(TrialResult(trial=trial.trial, status="succeeded", metrics=metrics))
    book.flush()
    board = collect(plan.__class__.from_dict({**plan.to_dict(), "min_success_fraction": 0.5}), store)
    call = Call(function=plan.function, arguments={}, seed=0, environment="e")
    with running(CallContext(store=store, call=call, log=lines.append)):
        report = draw_sweep(plan.to_dict(), board.to_dict())
    found = read_report(Artifact.from_dict(report), store)
    return {**found, "files": {name: store.path(item) for name, item in found["pictures"].items()}}


def test_what_matters_is_told_and_drawn_whatever_the_level_of_a_group(tmp_path):
    lines: list[str] = []
    found = draw(
        tmp_path,
        value=lambda params, group: (1000.0 if group == "JFK" else 0.0) - (math.log10(params["rate"]) + 1.5) ** 2,
        lines=lines,
    )
    assert lines == []
    assert next(iter(found["importance"])) == "rate"
    assert found["importance"]["rate"] > 0.6
    assert set(found["files"]) == {"importance", "slices", "parallel_coordinates"}
    for file in found["files"].values():
        data = file.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert 300 < width < 3000
        assert 100 < height < 1500
        assert len(data) < 200_000


@pytest.mark.parametrize(
    "options",
    [
        {"space": {"kind": {"distribution": "choice", "values": ["a", "b"]}}, "by": None},
        {"space": None, "trials": [{"a": 1, "b": "x"}, {"a": 2.5}, {"a": 3, "b": None}] * 10, "by": None},
    ],
    ids=["one parameter", "listed"],
)
def test_what_cannot_be_drawn_is_left_out_and_told(tmp_path, options):
    lines: list[str] = []
    found = draw(tmp_path, value=lambda params, group: 0.5, lines=lines, **options)
    assert all(line.startswith(("No picture", "No importance")) for line in lines)
    assert set(found) == {"importance", "pictures", "files"}


def test_libraries_that_are_missing_are_named(monkeypatch):
    require_pictures()
    monkeypatch.setattr("airflow_ml.runtime.sweep_pictures.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="optuna"):
        require_pictures()
