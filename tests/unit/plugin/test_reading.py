"""What one process reads and remembers: as much as a page needs, once, and no more than it may keep."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.ports import Entry
from airflow_ml.core.provenance import run_ref
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import SUCCEEDED, TrialResult
from airflow_ml.plugin.views import committed, shelf
from airflow_ml.plugin.views import traces as traces_module
from airflow_ml.plugin.views.board import find_sweep
from airflow_ml.plugin.views.committed import TrialIndex
from airflow_ml.plugin.views.lineage import lineage_view
from airflow_ml.plugin.views.overview import overview
from airflow_ml.plugin.views.progress import ShardReader
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.traces import Traces
from airflow_ml.testing.recorded_line import NOW, Line

SWEEP, REF = "sha256:" + "a" * 64, shard_ref("sha256:" + "a" * 64, 0, 1)


class Counted(MemoryStore):
    """A store that counts what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def latest(self, ref: str) -> Entry | None:
        self.read.append(ref)
        return super().latest(ref)

    def history(self, ref: str, *, newest_first: bool = False, up_to: int | None = None) -> Iterator[Entry]:
        for entry in super().history(ref, newest_first=newest_first, up_to=up_to):
            self.read.append(f"{ref}#{entry.sequence}")
            yield entry


def commit(store: MemoryStore, after: int, *trials: str, reason: str = "") -> None:
    rows: list[Any] = [TrialResult(trial=trial, status=SUCCEEDED, reason=reason).to_dict() for trial in trials]
    store.append(REF, {"trials": rows}, after=after)


def test_a_trial_is_found_and_its_shard_is_read_once() -> None:
    store, index = Counted(), TrialIndex()
    for number in range(10):
        commit(store, number, f"t{number}", f"u{number}")
    for name in ("t7", "u0", "t9"):
        found = index.find(store, SWEEP, 0, 1, name)
        assert found is not None
        assert found.trial == name
    assert len(store.read) == 10
    assert index.find(store, SWEEP, 0, 1, "none") is None
    commit(store, 10, "t10")
    store.read.clear()
    assert index.find(store, SWEEP, 0, 1, "t10") is not None
    assert len(store.read) == 2, "the new entry, and the one that was known"


def test_of_two_commits_of_a_trial_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the entries are too large to be kept, and are read again."""
    for kept in (committed._PACKED_BYTES, 0):
        monkeypatch.setattr(committed, "_PACKED_BYTES", kept)
        store, index = Counted(), TrialIndex()
        commit(store, 0, "a", "b", reason="first")
        commit(store, 1, "b", "c", reason="second")
        reasons = [one.reason for name in "abc" if (one := index.find(store, SWEEP, 0, 1, name))]
        assert reasons == ["first", "first", "second"]


def test_of_two_hundred_shards_one_is_read() -> None:
    store = Counted()
    Line(store).record_run("run", trials=400, shards=100)
    place = Shelf(store, "prod")
    store.read.clear()
    sweep = find_sweep(place, "flights", "run", "train.collect")
    assert sweep.shards == tuple(range(100))
    assert sum("shards" in ref for ref in store.read) == 1
    assert len(store.read) < 12
    assert len(place.attempts("flights", "run")[0]) == 108, "a run's own page has all of them"


def test_a_shard_that_cannot_be_read_does_not_hide_the_others() -> None:
    store = MemoryStore()
    Line(store).record_run("run", trials=30, shards=3)
    store.append(f"{run_ref('prod', 'flights', 'run')}/train.shards@0", {"record": "Provenance", "schema": 99}, after=1)
    found, shards = Shelf(store, "prod").in_short("flights", "run")
    assert shards == {"train.shards": (0, 1, 2)}
    assert [item.map_index for item in found if item.task == "train.shards"] == [1]


def test_what_a_request_has_no_time_for_is_read_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    for number in range(6):
        Line(store).record_run(f"run {number}", began=NOW + timedelta(hours=number), collected=False)
    place = Shelf(store, "prod", clock=lambda: NOW + timedelta(days=1))
    clock = itertools.count()
    monkeypatch.setattr(shelf.time, "monotonic", lambda: next(clock))
    heads = place.all_heads(lambda dag: True)
    assert len(list(place.summaries(heads, seconds=1.5))) == 1
    page = overview(place, ShardReader(), lambda dag: True, user="ann")
    assert (page["complete"], page["health"]["reconciler"]["state"]) == (False, "unknown")
    assert place._ahead._thread is not None
    place._ahead._thread.join(30)
    assert all(("flights", f"run {number}") in place._summaries._values for number in range(5))


def test_the_reconciler_is_absent_only_when_all_was_read() -> None:
    store = MemoryStore()
    Line(store).record_run("run")
    place = Shelf(store, "prod", clock=lambda: NOW + timedelta(days=1))
    reconciler = overview(place, ShardReader(), lambda dag: True, user="ann")["health"]["reconciler"]
    assert reconciler["state"] == "absent"
    assert "dags_examples/reconcile.py" in reconciler["reason"]


def test_a_graph_is_made_of_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "BUDGET_SECONDS", 60.0)
    store = Counted()
    line = Line(store)
    line.record_run("first", shards=4)
    line.record_watch("watch", "1", began=NOW + timedelta(hours=2))
    place = Shelf(store, "prod", clock=lambda: NOW + timedelta(days=1))
    traces = Traces()

    def graph() -> dict[str, Any]:
        return lineage_view(place, traces, line.model, "1", lambda dag: True)

    whole = graph()
    assert {node["record"] for node in whole["nodes"]} >= {
        "DatasetSnapshot",
        "Leaderboard",
        "ModelVersion",
        "ScoreTable",
    }
    store.read.clear()
    assert graph() == whole
    assert not [ref for ref in store.read if ref.startswith("runs/")]


def test_runs_are_remembered_for_as_long_as_they_do_not_change() -> None:
    place = Shelf(MemoryStore(), "prod", clock=lambda: NOW + timedelta(hours=2))
    assert place.good_for(None) == place.good_for(NOW + timedelta(hours=1, minutes=30)) == 4.0
    assert place.good_for(NOW) == 300.0
