"""select_model over a real sweep."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
from sweep_parts import plan_of

from airflow_ml.operators.selection import SelectModelOperator
from airflow_ml.runtime.codecs import load_value
from airflow_ml.runtime.leaderboard import collect
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.sweep_plan import shard_job

TEXT = """
def train(data, params, trial):
    from sklearn.linear_model import Ridge
    model = Ridge(alpha=params["n"] + 1).fit(*data.train.xy())
    return {"score": float(model.score(*data.validate.xy())), "rows": len(data.train.y)}, model
"""


@pytest.mark.long  # a whole line of its own: 15 s
def test_without_a_refit_the_winners_see_as_many_rows_as_the_trials_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_of(tmp_path, TEXT, max_train_rows=20, trials_per_group=2)
    run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
    board = collect(plan, store)
    assert board.max_train_rows == 20
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
    context: Any = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="select_model", map_index=-1)}
    rows = {}
    for mode in ("none", "train"):
        selection = SelectModelOperator(leaderboard=board.to_xcom(), refit=mode).run(context)
        members = load_value(selection.models, store)["members"]
        rows[mode] = {name: member["rows"] for name, member in members.items()}
    assert rows == {"none": {"EWR": 20, "JFK": 20}, "train": {"EWR": 36, "JFK": 36}}
