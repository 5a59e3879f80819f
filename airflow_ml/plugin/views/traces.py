"""Which run took or made what: the store has no index of it, so a process reads every run once and remembers that.

A run is kept as the first bytes of the digests in it, some 2 kB, so that thousands of them fit and are searched in
milliseconds. Two digests that begin alike cost the reading of one run more, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_ml.core.canary import Rollout
from airflow_ml.core.fingerprint import digest_bytes
from airflow_ml.core.monitoring import ScoreTable
from airflow_ml.core.provenance import SUCCEEDED, Handle, Provenance
from airflow_ml.plugin.views.ahead import Ahead
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.records import record_of
from airflow_ml.plugin.views.shelf import Head, Shelf

#: Runs that one process remembers, some 2 kB each.
_RUNS = 6_000
#: Runs of which it remembers the tasks as well, some 10 kB each.
_GRAPHS = 300
#: A run whose last task ended so long ago is not read again: nobody begins its tasks anew.
_SETTLED = timedelta(days=2)
#: Time that one request may spend on runs that this process has not read.
BUDGET_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Trace:
    """What the tasks of one run took and made."""

    taken: bytes
    made: bytes
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """Runs by what they took or made, out of those that were read so far."""

    heads: tuple[Head, ...]
    read: int
    of: int


class Traces:
    """The traces of the runs that one process has read."""

    def __init__(self) -> None:
        self._known: Lru[Trace] = Lru(_RUNS)
        #: Tasks of the runs that were drawn last.
        self.graphs: Lru[tuple[Provenance, ...]] = Lru(_GRAPHS)
        self._ahead = Ahead(rest=1.0)

    def read(self, shelf: Shelf, heads: Sequence[Head]) -> dict[Head, Trace]:
        """Return the traces of runs as far as they are known or can be read in the time; the others are read meanwhile.

        Args:
            shelf: Where the runs are.
            heads: Which; of each DAG the first are read first, so that one that runs every minute does not hide others.
        """
        began = time.monotonic()
        found: dict[Head, Trace] = {}
        wanted = _in_turn(heads)[:_RUNS]
        for position, head in enumerate(wanted):
            trace = self._known.peek(_key(shelf, head), seconds=lambda one: _good_for(shelf, one))
            if trace is None:
                if time.monotonic() - began > BUDGET_SECONDS:
                    self._ahead.read(lambda one: self._trace(shelf, one), wanted[position:])
                    # What is known beyond is found nevertheless.
                    found |= self._remembered(shelf, wanted[position:])
                    break
                trace = self._trace(shelf, head)
            found[head] = trace
        return found

    def _remembered(self, shelf: Shelf, heads: Iterable[Head]) -> dict[Head, Trace]:
        traces = ((head, self._known.peek(_key(shelf, head))) for head in heads)
        return {head: trace for head, trace in traces if trace is not None}

    def _trace(self, shelf: Shelf, head: Head) -> Trace:
        return self._known.get(
            _key(shelf, head),
            lambda: trace_of(shelf.in_short(head.dag, head.run)[0]),
            seconds=lambda one: _good_for(shelf, one),
        )


def trace_of(attempts: Iterable[Provenance]) -> Trace:
    """Return what tasks took and made; a task that scored rows with a model, or led its canary, took that version."""
    taken: set[bytes] = set()
    made: set[bytes] = set()
    ended_at: datetime | None = None
    for item in attempts:
        ended_at = item.ended_at if ended_at is None else max(ended_at, item.ended_at)
        if item.outcome != SUCCEEDED:
            continue
        inside = {short(digest) for handle in item.inputs for digest in (handle.digest, *handle.contains.values())}
        taken |= inside | {name for handle in item.outputs for name in _version_served(handle)}
        outside = {short(digest) for handle in item.outputs for digest in (handle.digest, *handle.contains.values())}
        made |= outside - inside
    return Trace(b"".join(sorted(taken)), b"".join(sorted(made)), ended_at)


def short(digest: str) -> bytes:
    """Return the bytes by which a trace has a digest."""
    return bytes.fromhex(digest.rpartition(":")[2][:16])


def version_name(model: str, version: str) -> bytes:
    """Return the bytes by which a trace has a version of a model."""
    return short(digest_bytes(f"{model}@{version}".encode()))


def runs_with(traces: dict[Head, Trace], names: Collection[bytes], *, made: bool) -> list[Head]:
    """Return the runs that made, or took, one of some things."""
    return [head for head, one in traces.items() if any(name in (one.made if made else one.taken) for name in names)]


def _version_served(handle: Handle) -> list[bytes]:
    rollout, scores = record_of(handle, Rollout), record_of(handle, ScoreTable)
    if rollout is not None:
        return [version_name(rollout.model, rollout.challenger)]
    return [] if scores is None else [version_name(scores.model, scores.version)]


def _in_turn(heads: Sequence[Head]) -> list[Head]:
    places: dict[str, int] = {}
    order: list[tuple[int, Head]] = []
    for head in heads:
        places[head.dag] = places.get(head.dag, 0) + 1
        order.append((places[head.dag], head))
    return [head for _, head in sorted(order, key=lambda one: one[0])]


def _good_for(shelf: Shelf, trace: Trace) -> float:
    settled = trace.ended_at is not None and shelf.now() - trace.ended_at > _SETTLED
    return float("inf") if settled else shelf.good_for(trace.ended_at)


def _key(shelf: Shelf, head: Head) -> tuple[str, str, str, str]:
    return (shelf.store.uri, shelf.namespace, head.dag, head.run)
