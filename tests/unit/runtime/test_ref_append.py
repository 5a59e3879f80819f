"""Appending behind the newest entry of a ref, however many others append to it at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.ports import Entry
from airflow_ml.core.record import JSON
from airflow_ml.runtime.ref_append import append_last


class Overtaken(MemoryStore):
    """A store in which somebody else is faster, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def append(self, ref: str, value: Mapping[str, JSON], *, after: int) -> Entry:
        if self.times:
            self.times -= 1
            super().append(ref, {"by": "another"}, after=after)
        return super().append(ref, value, after=after)


def test_whoever_was_faster_stays_before_it() -> None:
    store = Overtaken(50)
    entry = append_last(store, "r", {"by": "me"})
    assert (entry.sequence, store.times) == (51, 0)
    assert [item.value["by"] for item in store.history("r")] == [*["another"] * 50, "me"]


def test_no_entry_of_many_writers_is_lost() -> None:
    store = MemoryStore()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: append_last(store, "r", {"n": number}), range(200)))
    assert sorted(item.value["n"] for item in store.history("r")) == list(range(200))


def test_a_retry_adds_no_second_entry() -> None:
    store = MemoryStore()
    first = append_last(store, "r", {"n": 1}, unless_newest=True)
    assert append_last(store, "r", {"n": 1}, unless_newest=True) == first
    append_last(store, "r", {"n": 2}, unless_newest=True)
    assert [item.value["n"] for item in store.history("r")] == [1, 2]
