"""The rollouts of one model: the newest record of each, read from the newest entry back, and read on afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import decode
from airflow_ml.core.rollout_look import Look
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import RecordError
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.runtime.rollout_evidence import rollout_ref

#: Models whose rollouts one process remembers.
_MODELS = 50
#: Entries read back for one request at most, and how long: a rollout writes one a minute, for weeks.
_ENTRIES = 3_000
_SECONDS = 1.5


@dataclass(slots=True)
class Book:
    """What is known of one model's rollouts."""

    #: The last record of each epoch, and its place in the history.
    states: dict[int, tuple[int, RolloutState]] = field(default_factory=dict)
    #: Looks of each epoch by number, out of the history; the evidence artifact has the earlier ones.
    looks: dict[int, dict[int, Look]] = field(default_factory=dict)
    sequence: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def newest(self) -> RolloutState | None:
        """The newest record."""
        return self.states[max(self.states)][1] if self.states else None


class Rollouts:
    """Remembers the rollouts of the models that were looked at last."""

    def __init__(self) -> None:
        self._books: Lru[Book] = Lru(_MODELS)
        self._evidence: Lru[tuple[Look, ...]] = Lru(8)

    def book(self, store: ArtifactStore, namespace: str, model: str) -> Book:
        """Return all rollouts of a model as far back as one request may read."""
        ref = rollout_ref(model, namespace)
        known = self._books.get(ref, Book)
        with known.lock:
            newest = store.latest(ref)
            if newest is not None and newest.sequence != known.sequence:
                self._read_on(store, ref, known)
        return known

    def looks(self, store: ArtifactStore, book: Book, epoch: int) -> list[Look]:
        """Return the looks of a rollout, oldest first, out of its evidence and its history.

        Raises:
            ArtifactNotFound, ArtifactCorrupt: the store has lost the evidence.
        """
        _, state = book.states[epoch]
        found: dict[int, Look] = {}
        if state.evidence is not None:
            artifact = state.evidence
            for look in self._evidence.get(artifact.digest, lambda: _parse(store.get_bytes(artifact))):
                found[look.number] = look
        with book.lock:
            found |= book.looks.get(epoch, {})
        return [found[number] for number in sorted(found)]

    def _read_on(self, store: ArtifactStore, ref: str, book: Book) -> None:
        began, newest = time.monotonic(), book.sequence
        for count, entry in enumerate(store.history(ref, newest_first=True)):
            spent = time.monotonic() - began
            if entry.sequence <= book.sequence or (book.sequence == 0 and (count >= _ENTRIES or spent > _SECONDS)):
                break
            newest = max(newest, entry.sequence)
            try:
                state = RolloutState.from_dict(entry.value)
            except (RecordError, TypeError, ValueError):
                continue  # of a newer release, or damaged: the others are told nevertheless
            known = book.states.get(state.epoch)
            if known is None or known[0] < entry.sequence:
                book.states[state.epoch] = (entry.sequence, state)
            if state.last_look is not None:
                book.looks.setdefault(state.epoch, {})[state.last_look.number] = state.last_look
        book.sequence = newest
        for epoch in sorted(book.looks)[:-2]:
            if book.states[epoch][1].evidence is not None and not book.states[epoch][1].live:
                del book.looks[epoch]  # all of them are in the evidence


def _parse(data: bytes) -> tuple[Look, ...]:
    return tuple(decode(Look, json.loads(line)) for line in data.splitlines())


def owner_of(state: RolloutState) -> dict[str, Any] | None:
    """Return the task that leads a rollout; None where the owner is no task."""
    parts = state.owner.split("/")
    position = int(parts.pop()) if len(parts) == 4 and parts[3].isdigit() else -1
    if len(parts) != 3 or not all(parts):
        return None
    return {"dag_id": parts[0], "run_id": parts[1], "task_id": parts[2], "map_index": position}


def owner_dag(state: RolloutState) -> str:
    """Return the DAG that a rollout belongs to.

    Raises:
        NotHere: no DAG leads it.
    """
    owner = owner_of(state)
    if owner is None:
        raise NotHere(f"The rollout of {state.model} belongs to no DAG")
    return str(owner["dag_id"])


def version_of(variant: Mapping[str, Any] | None) -> str:
    """Return the version of a champion or challenger; "" where there was none."""
    return str((variant or {}).get("version", ""))


def names_below(store: ArtifactStore, prefix: str) -> Iterator[str]:
    """Yield the last segments of the refs below a prefix."""
    for ref in store.refs(prefix):
        if ref != prefix and "/" not in ref.removeprefix(f"{prefix}/"):
            yield ref.rpartition("/")[2]
