"""Progress in the log and in the task state store."""

from __future__ import annotations

import json
from typing import Any

from airflow_ml.operators.sweep_progress import PROGRESS_KEY, ProgressReporter
from airflow_ml.runtime.job import Progress


class Store:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.written: list[tuple[str, Any]] = []

    def set(self, key: str, value: Any) -> None:
        if self.error is not None:
            raise self.error
        self.written.append((key, json.loads(json.dumps(value))))


def progress(finished: int, **changes: Any) -> Progress:
    values: dict[str, Any] = {"shard": 0, "trials": 100, "failed": 1, "best": 0.25, "seconds": 1.0, **changes}
    return Progress(finished=finished, **values)


def test_the_store_is_written_at_most_every_15_seconds_and_at_the_end():
    store, lines, now = Store(), [], [0.0]
    tell = ProgressReporter(lambda text, *args: lines.append(text % args), store, clock=lambda: now[0])
    for second in range(0, 50, 2):
        now[0] = float(second)
        tell(progress(second))
    tell(progress(100, pruned=3, eta_seconds=0.0))
    assert len(lines) == 26
    assert lines[1] == "2 of 100 trials, 1 failed, best 0.25"
    assert lines[-1] == "100 of 100 trials, 1 failed, 3 pruned, best 0.25, 0 s to go"
    assert {key for key, _ in store.written} == {PROGRESS_KEY}
    assert [value["finished"] for _, value in store.written] == [0, 16, 32, 48, 100]
    assert Progress.from_dict(store.written[0][1]) == progress(0)


def test_groups_are_told_where_there_are_several():
    lines: list[str] = []
    tell = ProgressReporter(lambda text, *args: lines.append(text % args), None)
    tell(progress(4, groups=3, groups_done=2, best_group="JFK", just_done={"EWR": None, "JFK": 0.25}))
    tell(progress(5, groups=1, best_group="all", just_done={"all": 0.25}))
    assert lines == [
        "4 of 100 trials, 1 failed, best 0.25 in JFK, 2 of 3 groups done",
        "Best of groups just done: EWR nothing, JFK 0.25",
        "5 of 100 trials, 1 failed, best 0.25",
    ]


def test_a_store_that_fails_or_is_absent_does_not_matter(caplog):
    lines: list[str] = []
    for store in (None, Store(RuntimeError("no database"))):
        tell = ProgressReporter(lambda text, *args: lines.append(text % args), store)
        tell(progress(1))
        tell(progress(100))
    assert len(lines) == 4
    assert caplog.text.count("no database") == 1
