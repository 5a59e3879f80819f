"""Lineage over runs of any age: what used a version long ago is found, and so is what it was made from."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.plugin.views import traces as module
from airflow_ml.plugin.views.lineage import lineage_view, record_of_version
from airflow_ml.plugin.views.shelf import NEWEST_OF_A_DAG, Head, Shelf
from airflow_ml.plugin.views.traces import Traces, runs_with, trace_of, version_name
from airflow_ml.testing.recorded_line import NOW, Line

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine reads as many runs as a quiet one."""
    monkeypatch.setattr(module, "BUDGET_SECONDS", 60.0)


def graph(store: MemoryStore, model: str, traces: Traces | None = None) -> dict[str, Any]:
    place = Shelf(store, "prod", clock=lambda: NOW + 900 * DAY)
    return lineage_view(place, traces or Traces(), model, "1", lambda dag: True)


def test_what_was_made_from_a_version_is_found_behind_any_number_of_runs() -> None:
    store = MemoryStore()
    line = Line(store)
    line.record_run("first", trials=4)
    line.record_watch("watch", "1", began=NOW + DAY)
    for number in range(NEWEST_OF_A_DAG + 20):
        line.record_watch(f"of another {number}", "2", began=NOW + timedelta(hours=50 + number))
    page = graph(store, line.model)
    assert {("ScoreTable", 1), ("DriftReport", 2)} <= {(one["record"], one["depth"]) for one in page["nodes"]}
    assert {one["made_by"]["run_id"] for one in page["nodes"]} == {"first", "watch"}
    assert (page["runs_read"], page["runs"], page["runs_left"]) == (NEWEST_OF_A_DAG + 21, NEWEST_OF_A_DAG + 21, 0)


def test_of_many_runs_the_first_and_the_newest_are_shown() -> None:
    store = MemoryStore()
    line = Line(store)
    line.record_run("first", trials=4)
    for number in range(50):
        rows = Line(store, words=f"rows of day {number}")
        rows.record_watch(f"watch {number:02d}", "1", began=NOW + (number + 1) * DAY)
    page = graph(store, line.model)
    shown = sorted({one["made_by"]["run_id"] for one in page["nodes"]} - {"first"})
    assert page["runs_left"] == 50 - len(shown) == 20
    assert (shown[0], shown[-1]) == ("watch 00", "watch 49")


def test_what_it_was_made_from_lies_in_other_dags() -> None:
    store = MemoryStore()
    features = Line(store, dag="features").record_features("long ago")
    for number in range(5):
        Line(store, dag="features", words=f"other rows {number}").record_features(f"{number}", began=NOW + number * DAY)
    line = Line(store)
    line.record_run("first", began=NOW + 300 * DAY, trials=4, features=features)
    page = graph(store, line.model)
    made = {one["record"]: one["made_by"]["run_id"] for one in page["nodes"]}
    assert (made["FeatureSet"], made["DatasetSnapshot"], made["ModelVersion"]) == ("long ago", "long ago", "first")
    assert "0" not in {one["made_by"]["run_id"] for one in page["nodes"]}, "made the like, and not this one"


def test_what_a_request_has_no_time_to_search_is_read_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    store, traces = MemoryStore(), Traces()
    line = Line(store)
    line.record_run("first", trials=4)
    for number in range(6):
        line.record_watch(f"watch {number}", "1", began=NOW + (number + 1) * DAY)
    monkeypatch.setattr(module, "BUDGET_SECONDS", -1.0)
    begin, begun = threading.Event(), traces._ahead.read
    monkeypatch.setattr(
        traces._ahead, "read", lambda one, heads: begun(lambda head: begin.wait(30) and one(head), heads)
    )
    page = graph(store, line.model, traces)
    assert (page["runs_read"], page["runs"]) == (0, 6)
    begin.set()
    assert traces._ahead._thread is not None
    traces._ahead._thread.join(30)
    page = graph(store, line.model, traces)
    assert (page["runs_read"], page["runs"]) == (6, 6)
    assert "ScoreTable" in {one["record"] for one in page["nodes"]}


def test_a_dag_that_runs_every_minute_does_not_hide_the_others() -> None:
    heads = [Head("minute", str(number), NOW - number * timedelta(minutes=1), "") for number in range(100)]
    heads += [Head("day", str(number), NOW - number * DAY, "") for number in range(3)]
    assert {head.dag for head in module._in_turn(heads)[:6]} == {"minute", "day"}


def test_a_trace_has_what_was_taken_and_what_was_served() -> None:
    store = MemoryStore()
    line = Line(store)
    line.record_watch("watch", "7")
    place = Shelf(store, "prod")
    head = place.heads("flights")[0]
    trace = trace_of(place.in_short("flights", "watch")[0])
    assert runs_with({head: trace}, {version_name(line.model, "7")}, made=False) == [head]
    assert runs_with({head: trace}, {version_name(line.model, "8")}, made=False) == []
    assert len(trace.taken) % 8 == len(trace.made) % 8 == 0
    assert len(trace.taken + trace.made) < 1_000


def test_a_version_is_found_by_any_name() -> None:
    """Also where the registry counts otherwise than the store, as after the model was registered elsewhere before."""
    store = MemoryStore()
    line = Line(store)
    line.record_run("first", trials=4)
    ref = f"models/prod/{line.model}"
    first = store.latest(ref)
    assert first is not None
    for sequence, version in enumerate(["41", "2.1", "3"], start=1):
        store.append(ref, {**first.value, "version": version}, after=sequence)
    place = Shelf(store, "prod")
    for version in ("1", "41", "2.1", "3"):
        found = record_of_version(place, line.model, version)
        assert found is not None
        assert found.version == version
    assert record_of_version(place, line.model, "4") is None
    assert record_of_version(place, "another", "1") is None
