"""What the pages show of real records: as the contract says, and right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.guardrail_look import GuardrailLook
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.provenance import task_ref
from airflow_ml.core.rollout_change import created
from airflow_ml.core.rollout_look import ArmLook, Look
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.plugin.views import traces
from airflow_ml.plugin.views.board import Boards
from airflow_ml.plugin.views.canary import allowed_actions, canary_view
from airflow_ml.plugin.views.chart import importance, sweep_chart
from airflow_ml.plugin.views.data import dataset_list, dataset_view, snapshot_view
from airflow_ml.plugin.views.lineage import lineage_view
from airflow_ml.plugin.views.models import model_rows, model_view
from airflow_ml.plugin.views.overview import overview
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.progress import ShardReader
from airflow_ml.plugin.views.run import run_diff, run_list, run_view
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.sweep import sweep_view
from airflow_ml.plugin.views.task import preview, task_view
from airflow_ml.plugin.views.traces import Traces
from airflow_ml.plugin.views.trials import Query, trial_page, trial_view, trials_csv
from airflow_ml.runtime.job import Progress
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.testing.recorded_line import NOW, Line
from airflow_ml.testing.typescript import Types

TYPES = Types(Path(__file__).parents[3] / "airflow_ml/plugin/www/src/api/types.ts")
DAG, MODEL = "flights", "flights_model"


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    store = MemoryStore()
    line = Line(store)
    line.record_run("first", began=NOW)
    line.record_run("second", began=NOW + timedelta(days=1), trials=40)
    line.record_run("open", began=NOW + timedelta(days=2), collected=False)
    line.record_watch("watch", "2", began=NOW + timedelta(days=2))
    line.record_rollout("canary", began=NOW + timedelta(days=1), looks=600)
    line.record_rollout("again", began=NOW + timedelta(days=2), end=False)
    return store


@pytest.fixture
def shelf(store: MemoryStore) -> Shelf:
    return Shelf(store, "prod", clock=lambda: NOW + timedelta(days=2, hours=1))


@pytest.fixture
def boards() -> Boards:
    return Boards(ShardReader())


def anything(_: str) -> bool:
    return True


def nothing(_: str) -> bool:
    return False


def summaries(shelf: Shelf) -> Any:
    return list(shelf.summaries(shelf.all_heads(anything)))


def as_declared(value: Any, name: str) -> Any:
    assert TYPES.problems(value, name) == []
    return value


def test_the_contract_can_be_broken() -> None:
    """The checker sees what lacks, what is too much and what is of another type."""
    ref = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    assert TYPES.problems(ref, "TaskRef") == []
    assert TYPES.problems({**ref, "map_index": "1"}, "TaskRef") == ["TaskRef.map_index: '1' is no number"]
    assert TYPES.problems({**ref, "more": 1}, "TaskRef") == ["TaskRef.more: not in the contract"]
    assert TYPES.problems({"dag_id": "d"}, "TaskRef")[0] == "TaskRef.run_id: missing"
    brief = {"name": "n", "record": "r", "digest": "d"}
    assert TYPES.problems({**brief, "value": None, "previews": [{"name": "x"}]}, "HandleView") == [
        "HandleView.previews[0].digest: missing", "HandleView.previews[0].rows: missing",
    ]  # fmt: skip


def test_overview(shelf: Shelf, boards: Boards) -> None:
    page = as_declared(overview(shelf, boards.shards, anything, user="ann"), "Overview")
    assert [(one["task"]["run_id"], one["trials"], one["finished"]) for one in page["sweeps"]] == [("open", 24, 12)]
    assert [(one["name"], one["champion"], one["challenger"]) for one in page["models"]] == [(MODEL, "1", "2")]
    assert (page["models"][0]["rollout"]["live"], page["models"][0]["rollout"]["lost"]) == (True, True)
    assert page["health"]["reconciler"]["state"] == "needed"
    assert {one["kind"] for one in page["gates"]} == {"dataset", "model"}
    assert page["drifts"][0]["drifted"]
    assert page["complete"]


def test_an_overview_of_nothing_readable_is_empty(shelf: Shelf, boards: Boards) -> None:
    page = as_declared(overview(shelf, boards.shards, nothing, user="ann"), "Overview")
    assert page["sweeps"] == page["gates"] == page["drifts"] == []
    assert [one["rollout"] for one in page["models"]] == [None]


def test_a_store_without_anything(tmp_path: Path, boards: Boards) -> None:
    shelf = Shelf(FolderStore(tmp_path), "prod")
    page = as_declared(overview(shelf, boards.shards, anything, user="ann"), "Overview")
    assert (page["models"], page["health"]["store"]["state"]) == ([], "ok")
    assert as_declared(run_list(shelf, DAG, limit=50, offset=0), "RunList")["runs"] == []
    assert as_declared(dataset_list([]), "DatasetList")["datasets"] == []


def test_runs_are_paged_newest_first(shelf: Shelf) -> None:
    page = as_declared(run_list(shelf, DAG, limit=2, offset=1), "RunList")
    assert page["total"] == 6
    assert len(page["runs"]) == 2
    assert page["runs"][0]["started_at"] >= page["runs"][1]["started_at"]


def test_a_run_stage_by_stage(shelf: Shelf) -> None:
    page = as_declared(run_view(shelf, DAG, "second"), "RunView")
    assert [(one["kind"], one["task_id"], one["instances"]) for one in page["stages"]] == [
        ("snapshot", "snapshot", 1), ("gate", "gate_dataset", 1), ("features", "build_features", 1),
        ("sweep", "train.plan", 1), ("sweep", "train.shards", 2), ("sweep", "train.collect", 1),
        ("selection", "select_model", 1), ("model_gate", "gate_model", 1), ("registration", "register_model", 1),
    ]  # fmt: skip
    gate = page["stages"][1]
    assert (gate["verdict"], gate["sentence"]) == ("warn", "as it should be")
    assert {"name": "set aside", "value": 3, "unit": "rows"} in gate["figures"]
    assert [one["run_id"] for one in page["earlier"]] == ["canary", "first"]
    with pytest.raises(NotHere):
        run_view(shelf, DAG, "third")
    with pytest.raises(NotHere):
        run_view(shelf, "another", "second")


def test_what_differs_between_runs(shelf: Shelf) -> None:
    page = as_declared(run_diff(shelf, DAG, "second", "first"), "RunDiff")
    assert {one["kind"] for one in page["changes"]} <= {"data", "metrics", "params", "outcome"}
    assert page["changes"]
    assert as_declared(run_diff(shelf, DAG, "first", "first"), "RunDiff")["changes"] == []


def test_a_damaged_record_is_told_and_the_others_are_shown(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    Line(store).record_run("run")
    ref = task_ref("prod", DAG, "run", "gate_dataset")
    (entry,) = (tmp_path / "refs" / ref).glob("_*.json")
    entry.unlink()
    entry.write_text("{}")
    shelf = Shelf(store, "prod")
    page = as_declared(run_view(shelf, DAG, "run"), "RunView")
    assert [one["task"] for one in page["unreadable"]] == ["gate_dataset"]
    assert len(page["stages"]) == 8
    store.append(task_ref("prod", DAG, "run", "late"), {"record": "Provenance", "schema": 99}, after=0)
    assert {one["task"] for one in run_view(shelf, DAG, "run")["unreadable"]} == {"gate_dataset", "late"}


def test_a_task_with_its_tables(shelf: Shelf) -> None:
    page = as_declared(task_view(shelf, DAG, "second", "gate_dataset", -1), "TaskView")
    assert page["gate"]["kind"] == "dataset"
    assert page["gate"]["checks"], "what it saw stands on the page"
    assert task_view(shelf, DAG, "second", "select_model", -1)["gate"] is None
    assert (page["outcome"], page["failure"], page["cache"]["verdict"]) == ("succeeded", None, "off")
    assert [one["name"] for one in page["outputs"]] == ["return", "report"]
    table = page["outputs"][1]["previews"][0]
    rows = as_declared(preview(shelf, DAG, "second", "gate_dataset", -1, table["digest"]), "Table")
    assert rows["total_rows"] == 3
    with pytest.raises(NotHere):
        preview(shelf, DAG, "second", "train.collect", -1, f"sha256:{'0' * 64}")
    with pytest.raises(NotHere):
        task_view(shelf, DAG, "second", "nothing", -1)


def test_a_finished_sweep(shelf: Shelf, boards: Boards) -> None:
    page = as_declared(sweep_view(shelf, boards, DAG, "second", "train.collect"), "SweepView")
    assert (page["state"], page["group"], page["progress"]["succeeded"]) == ("succeeded", "train", 38)
    assert page["failures"] == [{"status": "failed", "reason": "as it should be", "trials": 2, "example": "t00007"}]
    best = page["best"]["value"]
    assert best == min(one["value"] for one in page["best_by_group"]) == page["best_so_far"][-1]["value"]
    assert [one["distribution"] for one in page["space"]] == ["log_uniform", "int_uniform"]
    with pytest.raises(NotHere):
        sweep_view(shelf, boards, DAG, "second", "snapshot")


def test_a_running_sweep_counts_what_is_committed(shelf: Shelf) -> None:
    told = [Progress(shard=0, trials=12, finished=6, failed=0, best=0.2, seconds=60.0, eta_seconds=60.0)]
    boards = Boards(ShardReader(lambda dag, run, task: told if (run, task) == ("open", "train.shards") else []))
    page = as_declared(sweep_view(shelf, boards, DAG, "open", "train.plan"), "SweepView")
    assert (page["state"], page["progress"]["finished"], page["progress"]["lost"]) == ("running", 12, 0)
    assert page["progress"]["eta_seconds"] == pytest.approx(120.0), "12 to go at 6 in 60 s"
    assert page["groups_without_success"] == []
    rows = as_declared(trial_page(shelf, boards, DAG, "open", "train.plan", Query(status="waiting")), "TrialPage")
    assert rows["total"] == 12


def test_progress_is_read_on_and_the_first_commit_counts(tmp_path: Path) -> None:
    store, clock = FolderStore(tmp_path), [0.0]
    line = Line(store)
    line.record_run("open", collected=False)
    reader = ShardReader(clock=lambda: clock[0])
    shelf = Shelf(store, "prod")
    boards = Boards(reader)
    assert sweep_view(shelf, boards, DAG, "open", "train")["progress"]["finished"] == 12
    from airflow_ml.plugin.views.board import find_sweep
    from airflow_ml.runtime.shard import planned_trials

    plan = find_sweep(shelf, DAG, "open", "train").plan
    line.commit_trials(plan, planned_trials(plan, store))
    assert sweep_view(shelf, boards, DAG, "open", "train")["progress"]["finished"] == 12, "remembered for two seconds"
    clock[0] += 3
    assert sweep_view(shelf, boards, DAG, "open", "train")["progress"]["finished"] == 24


@pytest.mark.parametrize(
    ("query", "first", "total"),
    [
        pytest.param(Query(), None, 40, id="best first"),
        pytest.param(Query(sort="trial", descending=True), "t00039", 40, id="by trial"),
        pytest.param(Query(status="failed"), "t00007", 2, id="status"),
        pytest.param(Query(group="group 1", sort="trial"), "t00020", 20, id="group"),
        pytest.param(Query(text="T00011"), "t00011", 1, id="text"),
        pytest.param(Query(text="(.*["), None, 0, id="no pattern"),
        pytest.param(Query(sort="trial", offset=39), "t00039", 40, id="last"),
    ],
)
def test_pages_of_trials(shelf: Shelf, boards: Boards, query: Query, first: str | None, total: int) -> None:
    page = as_declared(trial_page(shelf, boards, DAG, "second", "train", query), "TrialPage")
    assert page["total"] == total
    if first is not None:
        assert page["trials"][0]["trial"] == first


def test_trials_are_sorted_by_any_column(shelf: Shelf, boards: Boards) -> None:
    def column(sort: str, pick: Callable[[Any], Any], *, descending: bool = False) -> list[Any]:
        query = Query(sort=sort, descending=descending, limit=200)
        return [pick(one) for one in trial_page(shelf, boards, DAG, "second", "train", query)["trials"]]

    ranked = column("rank", lambda one: one["value"])
    assert ranked[-2:] == [None, None]
    assert ranked[:-2] == sorted(ranked[:-2])
    assert column("rank", lambda one: one["value"], descending=True)[-2:] == [None, None], "failures stay last"
    rates = column("learning_rate", lambda one: one["params"]["learning_rate"], descending=True)
    assert rates == sorted(rates, reverse=True)
    accuracy = column("auc", lambda one: one["metrics"].get("auc"))
    assert accuracy[:-2] == sorted(accuracy[:-2])
    with pytest.raises(NotHere):
        column("metrics", lambda one: one)


def test_one_trial(shelf: Shelf, boards: Boards) -> None:
    page = as_declared(trial_view(shelf, boards, DAG, "second", "train.plan", "t00007"), "TrialView")
    assert (page["status"], page["traceback"], page["log"]["map_index"]) == ("failed", "as it should be", 0)
    assert page["reproduce"] == "airflow-ml reproduce flights second train --trial t00007"
    good = as_declared(trial_view(shelf, boards, DAG, "second", "train.plan", "t00008"), "TrialView")
    assert good["reports"] == [{"step": 1.0, "value": good["value"]}]
    with pytest.raises(NotHere):
        trial_view(shelf, boards, DAG, "second", "train.plan", "t99999")


def test_all_trials_as_csv(shelf: Shelf, boards: Boards) -> None:
    lines = b"".join(trials_csv(shelf, boards, DAG, "second", "train")).decode().splitlines()
    assert len(lines) == 41
    assert lines[0].startswith("group,trial,status,value,")


def test_a_sweeps_pictures(shelf: Shelf, boards: Boards) -> None:
    page = as_declared(sweep_chart(shelf, boards, DAG, "second", "train", points=10), "SweepChart")
    assert (page["trials"], len(page["points"]["trial"]), len(page["points"]["params"])) == (38, 10, 2)
    assert page["points"]["value"][0] == min(page["points"]["value"])
    one = sweep_chart(shelf, boards, DAG, "second", "train", points=100, group="group 1")
    assert set(one["points"]["group"]) == {"group 1"}


def test_importance_finds_the_parameter_that_matters() -> None:
    import random

    import pyarrow as pa

    draw = random.Random(3)
    rows = [(draw.random(), draw.random(), draw.choice("ab"), draw.choice(["x", "y"])) for _ in range(500)]
    table = pa.table(
        {
            "group": [group for *_, group in rows],
            "trial": [str(number) for number in range(500)],
            # One diverged trial, and groups at very different levels.
            "value": [*((a - 0.4) ** 2 + (100 if group == "y" else 0) for a, _, _, group in rows[:-1]), 1e12],
            "param_a": [a for a, *_ in rows],
            "param_b": [b for _, b, *_ in rows],
            "param_c": [c for *_, c, _ in rows],
        }
    )
    found = importance(table, ["a", "b", "c"])
    assert found[0]["name"] == "a"
    assert found[0]["share"] > 0.8
    assert all(one["share"] < 0.1 for one in found[1:])
    assert importance(table.slice(0, 19), ["a"]) == [], "too few trials say nothing"


def test_a_model_and_its_history(shelf: Shelf) -> None:
    page = as_declared(model_view(shelf, MODEL, summaries(shelf), anything, mlflow=None), "ModelView")
    assert [one["version"] for one in page["versions"]] == ["2", "1"]
    assert page["versions"][0]["aliases"] == ["challenger"]
    assert (page["champion"], page["previous"]) == ("1", "1")
    newest = page["versions"][0]
    assert newest["gate"]["value"]["checks"][0]["observed"] == "as it should be"
    assert newest["signature"]["value"]["inputs"][1] == {"name": "as it should be", "dtype": "string"}
    assert [one["outcome"] for one in page["history"]] == ["running", "promoted"]
    assert [one["version"] for one in page["metrics"][0]["points"]] == ["1", "2"]
    assert page["drift"][0]["drifted"]
    for name in ("none", "../x", "a" * 300, "ü"):
        with pytest.raises(NotHere):
            model_view(shelf, name, [], anything, mlflow=None)


def test_lineage_goes_up_and_down(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "BUDGET_SECONDS", 60.0)
    page = as_declared(lineage_view(shelf, Traces(), MODEL, "2", anything), "LineageGraph")
    depth = {(one["record"], one["depth"]) for one in page["nodes"]}
    assert {("ModelVersion", 0), ("Selection", -1), ("Leaderboard", -2), ("ScoreTable", 1), ("Rollout", 1)} <= depth
    assert ("DriftReport", 2) in depth
    known = {one["digest"] for one in page["nodes"]}
    assert {end for edge in page["edges"] for end in edge.values()} <= known
    with pytest.raises(NotHere):
        lineage_view(shelf, Traces(), MODEL, "9", anything)
    with pytest.raises(NotHere):
        lineage_view(shelf, Traces(), MODEL, "2", nothing)


def test_a_canary_with_its_looks(shelf: Shelf) -> None:
    newest = canary_view(shelf, MODEL, None, may_read=anything, may_edit=anything)
    as_declared(newest, "CanaryView")
    assert (newest["epoch"], newest["epochs"], newest["allowed"]) == (3, [3, 1], ["roll_back"])
    first = as_declared(canary_view(shelf, MODEL, 1, may_read=anything, may_edit=anything), "CanaryView")
    assert (first["brief"]["state"], first["looks_total"], first["allowed"]) == ("promoted", 600, [])
    assert len(first["looks"]) <= 501
    assert first["looks"][-1]["number"] == 600
    assert first["log"][0]["state"] == "promoted"
    assert first["log"][-1]["what"] == "Created at weight 0"
    with pytest.raises(NotHere):
        canary_view(shelf, MODEL, 1, may_read=nothing, may_edit=anything)
    with pytest.raises(NotHere):
        canary_view(shelf, MODEL, 2, may_read=anything, may_edit=anything)


def test_a_canary_is_read_on(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    line = Line(store)
    shelf = Shelf(store, "prod", clock=lambda: NOW)
    line.record_rollout("one", looks=3)
    assert canary_view(shelf, MODEL, None, may_read=anything, may_edit=nothing)["epochs"] == [1]
    line.record_rollout("two", looks=3, end=False)
    page = canary_view(shelf, MODEL, None, may_read=anything, may_edit=nothing)
    assert (page["epochs"], page["brief"]["looks"], page["allowed"]) == ([3, 1], 3, [])


def test_what_may_be_done_with_a_rollout(store: MemoryStore) -> None:
    from dataclasses import replace

    entry = store.latest(f"rollouts/prod/{MODEL}")
    assert entry is not None
    state = RolloutState.from_dict(entry.value)
    assert state.lease_expires_at is not None
    soon = state.lease_expires_at - timedelta(seconds=1)
    assert allowed_actions(state, soon) == ["hold", "promote", "roll_back"]
    assert allowed_actions(replace(state, held="by ann: x"), soon) == ["resume", "promote", "roll_back"]
    assert allowed_actions(replace(state, state="parked"), soon) == ["approve", "roll_back"]
    assert allowed_actions(replace(state, pending="promoted"), soon) == []
    assert allowed_actions(replace(state, promote_arm="challenger"), soon) == ["hold", "roll_back"], "it was asked for"
    assert allowed_actions(state, datetime(2100, 1, 1, tzinfo=UTC)) == ["roll_back"], "nobody leads it any more"


def test_datasets(shelf: Shelf) -> None:
    found = summaries(shelf)
    assert as_declared(dataset_list(found), "DatasetList")["datasets"][0]["snapshots"] == 3
    page = as_declared(dataset_view(found, "flights_rows", limit=2, offset=0), "DatasetView")
    assert (page["total"], len(page["snapshots"])) == (3, 2)
    assert page["snapshots"][0]["gate"]["verdict"] == "warn"
    assert page["drift"][0]["columns"][0]["value"] == 0.4
    with pytest.raises(NotHere):
        dataset_view(found, "nothing", limit=2, offset=0)


@pytest.mark.parametrize("task", ["snapshot", "gate_dataset"])
def test_a_snapshot_with_its_profile(shelf: Shelf, task: str) -> None:
    page = snapshot_view(shelf, DAG, "second", task, query_history=lambda source, statement: f"{source} {statement}")
    as_declared(page, "SnapshotView")
    by_name = {one["name"]: one for one in page["profile"]["value"]}
    assert (by_name["id"]["minimum"], by_name["id"]["maximum"], by_name["id"]["distinct"]) == (0, 59, 60)
    assert sum(by_name["x"]["histogram"]["counts"]) == 60
    assert by_name["as it should be"]["frequent"] == [{"value": "as it should be", "rows": 60}]
    assert page["quarantine"]["value"]["total_rows"] == 3
    assert page["gate"]["value"]["verdict"] == "warn"
    assert page["query_history"].startswith("snowflake:snowflake_default 01b2c3d4")


def test_lost_bytes_are_unreadable_and_not_absent(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    Line(store).record_run("run")
    shelf = Shelf(store, "prod")
    before = snapshot_view(shelf, DAG, "run", "snapshot", query_history=lambda *_: None)
    digest = before["row"]["digest"].partition(":")[2]
    (tmp_path / "blobs" / "sha256" / digest[:2] / digest[2:]).unlink()
    page = snapshot_view(Shelf(store, "prod"), DAG, "run", "snapshot", query_history=lambda *_: None)
    as_declared(page, "SnapshotView")
    assert page["preview"]["state"] == "unreadable"


def test_model_rows_survive_a_damaged_record(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.append("models/prod/odd", {"record": "ModelVersion", "schema": 77}, after=0)
    (row,) = model_rows(Shelf(store, "prod"), [], anything)
    as_declared(row, "ModelRow")
    assert (row["name"], row["champion"], row["versions"]) == ("odd", None, 1)


def test_several_challengers_in_shadow_against_itself_and_side_by_side() -> None:
    """What the record says of each challenger, and who serves at the end: the one that was chosen."""
    store = MemoryStore()
    rails = [{"metric": "brier", "limit": 0.3}, {"metric": "mae", "decides": False}]
    plan = parse_plan(["aa", "shadow", (10, "1d"), 100], challengers=2, guardrails=rails)
    seen = (
        GuardrailLook(metric="brier at most 0.3", effect=-0.1, variance=0.1, held=False, broken=True, level=0.4),
        GuardrailLook(metric="mae", effect=0.2, variance=0.1, held=False, broken=True, decides=False),
    )
    state = created(
        None, plan=plan, model=MODEL, namespace="prod", champion={"version": "1"}, challenger={"version": "2"},
        others=[{"version": "3"}], owner=f"{DAG}/run/canary", now=NOW, lease_seconds=180.0,
    )  # fmt: skip
    arms = (
        ArmLook(arm="challenger", effect=0.1, interval=(0.05, 0.15), worse=True, harm="brier is worse"),
        ArmLook(arm="challenger-2", effect=-0.1, interval=(-0.2, -0.01), units={"champion": 9, "challenger-2": 4}),
    )  # fmt: skip
    look = Look(
        number=1, at=NOW, watermark_at=NOW, step=0, weight_percent=0.0, action="hold", reason="x", effect=-0.1,
        interval=(-0.2, -0.01), kind="shadow", arms=arms, guardrails=seen,
    )  # fmt: skip
    shelf = Shelf(store, "prod", clock=lambda: NOW)
    for number, (more, brief) in enumerate(
        [
            ({}, "2, 3"), ({"stopped": {"challenger": "brier is worse"}}, "2, 3"),
            ({"stopped": {"challenger": "brier is worse"}, "chosen": "challenger-2", "state": "promoted"}, "3"),
        ]
    ):  # fmt: skip
        told = replace(state, step=1, last_look=look, looks=1, **more)  # type: ignore[arg-type]
        store.append(rollout_ref(MODEL, "prod"), told.to_dict(), after=number)
        page = as_declared(canary_view(shelf, MODEL, None, may_read=anything, may_edit=anything), "CanaryView")
        assert (page["brief"]["challenger"], page["brief"]["kind"]) == (brief, "shadow")
    assert [(one["version"], one["stopped"], one["chosen"]) for one in page["challengers"]] == [
        ("2", "brier is worse", False), ("3", "", True),
    ]  # fmt: skip
    assert [step["kind"] for step in page["plan"]["steps"]] == ["aa", "shadow", "split", "split"]
    assert [(rail["metric"], rail["margin"]) for rail in page["plan"]["guardrails"]] == [
        ("brier at most 0.3", 0.3), ("mae (dry run)", 0.0),
    ]  # fmt: skip
    assert [(rail["metric"], rail["effect"]) for rail in page["looks"][0]["guardrails"]] == [
        ("brier at most 0.3", 0.4), ("mae (dry run)", 0.2),
    ]  # fmt: skip
    assert [(one["arm"], one["low"], one["worse"]) for one in page["looks"][0]["arms"]] == [
        ("challenger", 0.05, True), ("challenger-2", -0.2, False),
    ]  # fmt: skip
    row = as_declared({"models": model_rows(shelf, [], anything)}, "ModelList")["models"][0]
    assert row["champion"] == "3"


def test_without_a_rollout_the_registry_says_who_serves(store: MemoryStore) -> None:
    """Its word counts only then: the rollouts' records are the truth."""
    asked: list[str] = []

    def registered(model: str, conn_id: str | None) -> dict[str, str]:
        asked.append(model)
        return {"champion": "7", "challenger": "8", "somebody's": "1"}

    alone = MemoryStore()
    Line(alone).record_run("first")
    fresh = Shelf(alone, "prod", clock=lambda: NOW)
    row = as_declared({"models": model_rows(fresh, [], anything, registered)}, "ModelList")["models"][0]
    assert (row["champion"], row["challenger"]) == ("7", "8")
    page = model_view(fresh, MODEL, [], anything, mlflow=None, registered=registered)
    assert (page["champion"], page["challenger"], page["previous"]) == ("7", "8", None)
    assert asked == [MODEL, MODEL]
    led = Shelf(store, "prod", clock=lambda: NOW)
    assert model_view(led, MODEL, [], anything, mlflow=None, registered=registered)["champion"] == "1"
    assert asked == [MODEL, MODEL], "a model with rollouts needs no registry"


def test_a_version_of_long_ago_has_its_task_and_its_gate(shelf: Shelf) -> None:
    """Its run is not among those that lists read."""
    versions = model_view(shelf, MODEL, [], anything, mlflow=None)["versions"]
    assert {one["version"]: one["made_by"]["run_id"] for one in versions} == {"1": "first", "2": "second"}
    assert {one["gate"]["state"] for one in versions} == {"present"}
    versions = model_view(shelf, MODEL, [], nothing, mlflow=None)["versions"]
    assert {one["made_by"] for one in versions} == {None}
