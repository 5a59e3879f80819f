"""Appending to a ref behind whatever its newest entry is by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_ml.errors import RefConflict

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore, Entry
    from airflow_ml.core.record import JSON


def append_last(store: ArtifactStore, ref: str, value: Mapping[str, JSON], *, unless_newest: bool = False) -> Entry:
    """Append an entry to a ref and return it.

    For entries that do not depend on the one before them. There is no limit of tries: each conflict means that another
    writer's entry was added, so the writers as a whole always make progress.

    Args:
        store: The store.
        ref: The ref; it need not exist.
        value: The entry's value.
        unless_newest: Add nothing if the newest entry has this value already, as after a retry of the same task.
    """
    while True:
        newest = store.latest(ref)
        if unless_newest and newest is not None and newest.value == value:
            return newest
        try:
            return store.append(ref, value, after=newest.sequence if newest else 0)
        except RefConflict:
            continue
