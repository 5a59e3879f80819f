"""From committed results to a leaderboard; and plans over feature sets."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import feature_set, plan_of

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.shards import shard_ref, shards_ref
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.core.trials import TrialResult
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, InvalidSpace, SweepFailed
from airflow_ml.reading import read
from airflow_ml.runtime.leaderboard import _param_column, best, collect, read_rows, to_pandas
from airflow_ml.runtime.ledger import Ledger
from airflow_ml.runtime.shard import planned_trials, shard_trials
from airflow_ml.runtime.sweep_plan import make_plan, read_groups, shard_job
from airflow_ml.runtime.values import to_wire, wire_argument
from airflow_ml.runtime.warm_start import best_params, newest_best_params

TEXT = "def train(data, params, trial):\n    return 1.0\n"
SPACE = {
    "pick": {"distribution": "choice", "values": ["a", 1, None, [2]]},
    "rate": {"distribution": "uniform", "low": 0, "high": 1},
    "depth": {"distribution": "int_uniform", "low": 1, "high": 9},
    "flag": {"distribution": "choice", "values": [True, False]},
}


def ledger(plan: SweepPlan, store: FolderStore, shard: int = 0) -> Ledger:
    return Ledger(store, shard_ref(plan.sweep, shard, plan.shards), batch_seconds=1000.0)


def fill(plan: SweepPlan, store: FolderStore, values: dict[int, float | str | None]) -> None:
    """Commit results by trial number: a value, a reason of failure, or nothing for None."""
    for trial in planned_trials(plan, store):
        value = values.get(int(trial.trial[1:]), 0.5)
        if value is None:
            continue
        book = ledger(plan, store, trial.shard)
        if isinstance(value, str):
            book.add(TrialResult(trial=trial.trial, status="failed", reason=value, seconds=0.1))
        else:
            book.add(TrialResult(trial=trial.trial, status="succeeded", metrics={"score": value}, seconds=0.2))
        book.flush()


@pytest.mark.parametrize(("direction", "value", "first"), [("maximize", 0.9, "t00001"), ("minimize", 0.1, "t00003")])
def test_the_best_come_first_and_every_trial_is_told(tmp_path, direction, value, first):
    plan, store = plan_of(tmp_path, TEXT, direction=direction, max_shards=2, space=SPACE, min_success_fraction=0.5)
    fill(plan, store, {0: "ValueError: x", 1: 0.9, 3: 0.1, 6: None})
    board = collect(plan, store)
    rows = list(read_rows(store.path(board.artifact)))
    assert [row["group"] for row in rows] == ["EWR"] * 4 + ["JFK"] * 4
    assert (rows[0]["trial"], rows[0]["value"]) == (first, value)
    assert [(row["trial"], row["status"], row["reason"]) for row in (rows[3], rows[7])] == [
        ("t00000", "failed", "ValueError: x"),
        ("t00006", "lost", "no result: its shard did not run it to an end"),
    ]
    assert (board.best.trial, board.best.value, board.best.group) == (first, value, "EWR")
    assert (board.trials, board.succeeded, board.failed) == (8, 6, 2)
    kinds = {field.name: str(field.type) for field in pq.read_schema(store.path(board.artifact))}
    assert board.artifact.columns == ()
    assert {kinds["param_rate"], kinds["value"]} == {"double"}
    assert (kinds["param_depth"], kinds["param_flag"], kinds["param_pick"]) == ("int64", "bool", "string")
    assert {json.dumps(json.loads(row["params"])["pick"]).replace(" ", "") for row in rows if row["param_pick"]} <= {
        row["param_pick"] for row in rows
    } | {json.dumps(value) for value in ["a"]}
    assert Leaderboard.from_dict(json.loads(json.dumps(board.to_xcom()))) == board


def test_the_best_by_a_column_and_the_frame(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, space=SPACE, min_success_fraction=0.1)
    fill(plan, store, {0: 0.1, 1: 0.9, 2: 0.8, 3: None, 4: 0.2, 5: 0.95, 6: "no", 7: 0.3})
    board = collect(plan, store)
    rows = best(board, store)
    assert [(row["group"], row["trial"], row["value"]) for row in rows] == [
        ("EWR", "t00001", 0.9),
        ("JFK", "t00005", 0.95),
    ]
    assert set(rows[0]["params"]) == set(SPACE)
    assert rows[0]["metrics"] == {"score": 0.9}
    assert [row["trial"] for row in best(board, store, by=None)] == ["t00005"]
    by_flag = {row["param_flag"]: row["value"] for row in best(board, store, by="param_flag")}
    frame = to_pandas(board, store)
    assert by_flag == frame.dropna(subset="value").groupby("param_flag")["value"].max().to_dict()
    assert list(frame["status"]).count("succeeded") == 6
    with pytest.raises(ColumnMissing, match="no column: country"):
        best(board, store, by="country")


def test_a_function_is_given_the_leaderboard_with_its_trials(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, space=SPACE, min_success_fraction=0.1)
    fill(plan, store, {1: 0.9, 5: 0.95})
    record = collect(plan, store)
    board = read(record, store=store)
    assert (board.best.trial, board.best.value, board.best.group) == ("t00005", 0.95, "JFK")
    assert board.best.params == record.best.params
    assert [row["trial"] for row in board.best(by="group")] == ["t00001", "t00005"]
    assert board.best() == best(record, store)
    assert len(board.to_pandas()) == board.trials == 8
    assert (board.importance(), board.pictures()) == ({}, {})
    assert "8 trials, 8 succeeded, best score 0.95 in group JFK" in repr(board)
    assert to_wire(board, store) == wire_argument(board, store) == record.to_dict()
    with pytest.raises(AttributeError):
        board.winner  # noqa: B018


def test_trials_that_a_storm_left_out_are_not_lost_and_pruned_ones_are_no_failures(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, max_shards=2)
    trials = planned_trials(plan, store)
    for shard in (0, 1):
        assert shard_trials(plan, shard, store) == [trial for trial in trials if trial.shard == shard]
    book = ledger(plan, store, 0)
    book.add(TrialResult(trial="t00000", status="succeeded", metrics={"score": 0.5}))
    for number in (1, 2, 3):
        book.add(TrialResult(trial=f"t{number:05d}", status="pruned", reason="pruned after 2 reports"))
    book.flush()
    book = ledger(plan, store, 1)
    book.add(TrialResult(trial="t00004", status="failed", reason="ValueError: x"))
    book.stop("20 of the first 20 trials failed alike: ValueError: x")
    with pytest.raises(
        SweepFailed, match=r"1 of 8 .*most common error \(1 times\): ValueError: x; 3 trials were not begun"
    ):
        collect(plan, store)
    board = collect(replace(plan, min_success_fraction=0.5), store)
    assert (board.succeeded, board.pruned, board.failed, board.not_run) == (1, 3, 1, 3)
    reasons = [row["reason"] for row in read_rows(store.path(board.artifact)) if row["status"] == "not_run"]
    assert set(reasons) == {"not begun: 20 of the first 20 trials failed alike: ValueError: x"}


def test_many_reports_do_not_make_an_entry_that_the_store_refuses(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, trials_per_group=30)
    book = ledger(plan, store)
    reports = tuple((float(step), step / 7) for step in range(1000))
    for number in range(60):
        result = TrialResult(trial=f"t{number:05d}", status="succeeded", metrics={"score": 1.0}, reports=reports)
        book.add(result)
    book.flush()
    assert collect(plan, store).succeeded == 60
    entries = list(store.history(shard_ref(plan.sweep, 0, plan.shards)))
    assert 3 < len(entries) < 20


def test_collecting_twice_gives_the_same_leaderboard(tmp_path):
    plan, store = plan_of(tmp_path, TEXT)
    fill(plan, store, {})
    assert collect(plan, store) == collect(plan, store)


def test_groups_without_success_are_named(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, min_success_fraction=0.5)
    fill(plan, store, dict.fromkeys(range(4), "boom"))
    assert collect(plan, store).groups_without_success == ("EWR",)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict.fromkeys(range(8), "E: 1"), r"0 of 8 trials succeeded, none did: most common error \(8 times\): E: 1"),
        ({0: "E: 1", 1: "E: 2", 2: "E: 2"}, r"5 of 8 trials succeeded, 95% must .* \(2 times\): E: 2"),
        (dict.fromkeys(range(8)), r"0 of 8 .* no result: its shard did not run it"),
    ],
)
def test_too_few_successes_fail_the_sweep_with_the_common_error(tmp_path, values, said):
    plan, store = plan_of(tmp_path, TEXT)
    fill(plan, store, values)
    with pytest.raises(SweepFailed, match=said):
        collect(plan, store)


def test_the_first_commit_of_a_trial_wins(tmp_path):
    plan, store = plan_of(tmp_path, TEXT)
    mine, theirs = ledger(plan, store), ledger(plan, store)
    theirs.add(TrialResult(trial="t00000", status="succeeded", metrics={"score": 1.0}))
    assert theirs.flush() == []
    mine.add(TrialResult(trial="t00000", status="failed", reason="late"))
    mine.add(TrialResult(trial="t00001", status="succeeded", metrics={"score": 2.0}))
    assert mine.flush() == ["t00000"]
    assert (mine.superseded, mine.results["t00000"].status) == (1, "succeeded")
    assert [len(entry.value["trials"]) for entry in store.history(shard_ref(plan.sweep, 0, 1))] == [1, 1]
    theirs.add(TrialResult(trial="t00001", status="failed", reason="in flight meanwhile"))
    theirs.add(TrialResult(trial="t00002", status="succeeded", metrics={"score": 3.0}))
    assert theirs.flush() == ["t00001"]
    mine.add(TrialResult(trial="t00003", status="succeeded", metrics={"score": 4.0}))
    assert mine.flush() == ["t00002"]
    assert mine.add(TrialResult(trial="t00002", status="failed", reason="in flight meanwhile")) == []
    assert mine.flush() == []
    entries = [item["trial"] for entry in store.history(shard_ref(plan.sweep, 0, 1)) for item in entry.value["trials"]]
    assert entries == ["t00000", "t00001", "t00002", "t00003"]
    assert (mine.superseded, theirs.superseded) == (2, 1)
    assert ledger(plan, store).results == mine.results


def test_fifty_results_are_committed_at_once(tmp_path):
    store = FolderStore(tmp_path / "store")
    book = Ledger(store, "sweeps/x/0000-of-0001", batch_seconds=1000.0)
    for index in range(120):
        book.add(TrialResult(trial=f"t{index:05d}", status="succeeded", metrics={"score": 1.0}))
        book.tick()
    assert [len(entry.value["trials"]) for entry in store.history("sweeps/x/0000-of-0001")] == [50, 50]
    book.add(TrialResult(trial="long", status="succeeded", metrics={"score": 1.0}, seconds=1000.0))
    assert len(book.results) == 121


def test_a_plan_is_a_pure_function_of_its_arguments(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, max_shards=3)
    again, _ = plan_of(tmp_path, TEXT, max_shards=3)
    assert again == plan
    assert plan.shards == 3
    assert sorted({trial.shard for trial in planned_trials(plan, store)}) == [0, 1, 2]
    assert plan_of(tmp_path, TEXT, max_shards=1)[0].sweep == plan.sweep
    assert plan_of(tmp_path, TEXT, seed=8)[0].sweep != plan.sweep
    with pytest.raises(ConfigurationError, match="shards 0 to 2: 3"):
        shard_job(plan, 3)


def test_a_plan_keeps_its_number_of_shards_however_many_slots_are_free_later(tmp_path):
    groups = tuple(f"g{number}" for number in range(9))
    first, store = plan_of(tmp_path, TEXT, groups=groups, slots=2, max_shards=200)
    assert first.shards == 8
    assert plan_of(tmp_path, TEXT, groups=groups, slots=50, max_shards=200)[0] == first
    assert plan_of(tmp_path, TEXT, groups=groups, slots=1, max_shards=200)[0] == first
    fewer, _ = plan_of(tmp_path, TEXT, groups=groups, slots=50, max_shards=3)
    assert (fewer.shards, fewer.sweep) == (3, first.sweep)
    assert [entry.value for entry in store.history(shards_ref(first.sweep))] == [{"shards": 8}, {"shards": 3}]
    other, _ = plan_of(tmp_path, TEXT, groups=groups, slots=50, max_shards=200, seed=2)
    assert other.shards == 36  # one for each trial, since there are fewer groups than slots


def test_a_plan_of_the_schema_before_is_read(tmp_path):
    plan, _ = plan_of(tmp_path, TEXT)
    before = {**plan.to_dict(), "schema": 1, "groups": ["EWR", "JFK"]}
    assert SweepPlan.from_dict(before) == plan


def test_groups_are_those_of_the_train_split(tmp_path):
    store = FolderStore(tmp_path / "store")
    path = store.path(feature_set(store, tmp_path, groups=("b", "a")).artifact)
    assert read_groups(path, "origin") == ["a", "b"]
    assert read_groups(path, None) == ["all"]
    with pytest.raises(ColumnMissing, match="no column to group by: nowhere"):
        read_groups(path, "nowhere")


@pytest.mark.parametrize(
    ("split", "origin", "said"), [("test", "a", "no rows to train on"), ("train", None, "have no")]
)
def test_data_without_groups_is_refused(tmp_path, split, origin, said):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"split": [split], "origin": pa.array([origin], pa.string())}), tmp_path / "x.parquet")
    with pytest.raises(EmptyDataset, match=said):
        read_groups(tmp_path / "x.parquet", "origin")
    if split == "test":
        with pytest.raises(EmptyDataset, match=said):
            read_groups(tmp_path / "x.parquet", None)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"direction": "down"}, ConfigurationError, "Unknown direction: 'down'"),
        ({"timeout_seconds": 0}, ConfigurationError, "timeout_seconds=0"),
        ({"min_success_fraction": 2}, ConfigurationError, "is a share: 2"),
        ({"max_train_rows": 0}, ConfigurationError, "must be positive: 0"),
        ({"constants": {"params": 1}}, InvalidSpace, "own argument: params"),
        ({"constants": {"a": object()}}, ConfigurationError, "not JSON"),
        ({"space": {}}, InvalidSpace, "needs parameters"),
        ({"by": "nowhere"}, ColumnMissing, "nowhere"),
    ],
)
def test_what_cannot_be_planned_is_refused(tmp_path, options, error, said):
    plan, store = plan_of(tmp_path, TEXT)
    good: dict[str, Any] = {"space": SPACE, "metric": "m", "store": store}
    with pytest.raises(error, match=said):
        make_plan(plan.function, feature_set(store, tmp_path), **{**good, **options})


def test_a_warm_start_takes_the_best_of_each_group(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, min_success_fraction=0.5)
    assert newest_best_params(store, "leaderboards/prod/x") == {}
    fill(plan, store, {1: 0.9, 2: 0.8, 3: "boom"})
    store.append("leaderboards/prod/x", collect(plan, store).to_dict(), after=0)
    found = newest_best_params(store, "leaderboards/prod/x", per_group=2)
    assert found == best_params(collect(plan, store), store, per_group=2)
    params = {trial.trial: trial.params for trial in planned_trials(plan, store)}
    assert found["EWR"] == [params["t00001"], params["t00002"]]
    assert len(found["JFK"]) == 2
    warm, _ = plan_of(tmp_path, TEXT, warm_start=found, seed=99)
    assert planned_trials(warm, store)[0].params == params["t00001"]


def test_whole_numbers_beyond_64_bits_are_kept_as_text() -> None:
    assert _param_column([2**64, 7, None]).to_pylist() == ["18446744073709551616", "7", None]
    assert _param_column([2**63 - 1, -(2**63)]).to_pylist() == [2**63 - 1, -(2**63)]
