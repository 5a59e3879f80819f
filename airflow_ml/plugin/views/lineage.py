"""What a model version was made from, and what was made from it, as a graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from airflow_ml.core.canary import Rollout
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.lineage import Lineage, Step
from airflow_ml.core.monitoring import ScoreTable
from airflow_ml.core.provenance import Handle, Provenance
from airflow_ml.core.record import JSON
from airflow_ml.core.registration import ModelVersion
from airflow_ml.errors import RecordError
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.records import record_of, task_ref_of
from airflow_ml.plugin.views.shelf import HEADS, Head, Shelf
from airflow_ml.plugin.views.traces import Traces, runs_with, short, version_name

#: Runs that are read for one graph on the way up, and of those that used the version or what was made from it.
_RUNS_UP, _RUNS_DOWN = 20, 30
_NODES = 200
#: What a record is called by, the first that it has, and what tells it from others of that name.
_NAMES, _VERSIONS = ("name", "view", "table", "model", "metric"), ("version", "outcome")


def lineage_view(
    shelf: Shelf, traces: Traces, model: str, version: str, may_read: Callable[[str], bool]
) -> dict[str, Any]:
    """Return a version's lineage.

    Args:
        shelf: The store's runs.
        traces: What this process knows of them.
        model: Its name.
        version: Which one.
        may_read: Whose tasks are shown.

    Raises:
        NotHere: there is no such version, or no task that made it.
    """
    record = record_of_version(shelf, model, version)
    if record is None or not may_read(record.made_by.get("dag", "")):
        raise NotHere(f"No task made version {version} of {model}")
    heads = shelf.all_heads(may_read, each=HEADS)
    search = _Search(shelf, traces, heads, _own_head(shelf, heads, record))
    digest = record.fingerprint
    graph = search.up(digest)
    up = list(graph.up(digest))
    if not up:
        raise NotHere(f"No task made version {version} of {model}")
    down = search.down(record)
    nodes: dict[str, dict[str, Any]] = {}
    for step, sign in [*((step, -1) for step in up), *((step, 1) for step in down)]:
        nodes.setdefault(step.digest, _node(step, sign * step.depth))
    shown = dict(list(nodes.items())[:_NODES])
    served = [step.digest for step in down if step.depth == 1 and step.digest in shown]
    return {
        "model": model,
        "version": version,
        "nodes": list(shown.values()),
        "edges": [*_edges([*up, *down], shown), *({"from": digest, "to": one} for one in dict.fromkeys(served))],
        "nodes_left": len(nodes) - len(shown),
        "runs_left": search.left,
        "runs_read": search.read,
        "runs": search.of,
    }


def _own_head(shelf: Shelf, heads: Sequence[Head], record: ModelVersion) -> Head:
    dag, name = record.made_by.get("dag", ""), record.made_by.get("run", "")
    known = next((head for head in heads if (head.dag, head.run) == (dag, name)), None)
    if known is not None:
        return known
    run = shelf.run(dag, name)
    return Head(run.dag, run.run, run.started_at, run.triggered_by)


class _Search:
    """Looks for the runs that a graph needs, by the traces of all of them."""

    def __init__(self, shelf: Shelf, traces: Traces, heads: list[Head], own: Head) -> None:
        self._shelf, self._traces, self._own = shelf, traces, own
        self._later = [head for head in heads if head.started_at >= own.started_at and head != own]
        self._earlier = [head for head in heads if head.started_at < own.started_at]
        self._attempts = {own: _of_run(shelf, traces, own)}
        #: Runs that were searched, of how many, and how many that belong into the graph were left out of it.
        self.read = self.of = self.left = 0

    def up(self, digest: str) -> Lineage:
        """Return a graph in which the way up is as long as the store can tell; runs long ago are read only for that."""
        while True:
            graph = self._graph()
            wanted = graph.unmade(graph.up(digest))
            if not wanted or len(self._attempts) > _RUNS_UP:
                return graph
            # Its own day's runs first: what a run took was made shortly before, as a rule.
            found = self._with(self._earlier + self._later, {short(one) for one in wanted}, made=True)
            if not found:
                return graph
            self._take(found[:_RUNS_UP])

    def down(self, record: ModelVersion) -> list[Step]:
        """Return what was made from a version, by its record or its name, then what was made from that."""
        wanted, asked = {short(record.fingerprint), version_name(record.name, record.version)}, set[bytes]()
        steps: list[Step] = []
        while wanted - asked:
            asked |= wanted
            found = self._with(self._later, wanted, made=False)
            if len(found) > _RUNS_DOWN:
                # How it began, and how it is now.
                self.left += len(found) - _RUNS_DOWN
                found = [*found[-_RUNS_DOWN // 3 :], *found[: _RUNS_DOWN - _RUNS_DOWN // 3]]
            self._take(found)
            graph = self._graph()
            steps = list(graph.down(record.fingerprint))
            for step in _served((item for items in self._attempts.values() for item in items), record):
                steps += [step, *(replace(one, depth=one.depth + 1) for one in graph.down(step.digest))]
            wanted = {short(step.digest) for step in steps}
            if len(self._attempts) > _RUNS_UP + 2 * _RUNS_DOWN:
                break
        return steps

    def _with(self, heads: Sequence[Head], names: set[bytes], *, made: bool) -> list[Head]:
        known = self._traces.read(self._shelf, heads)
        if not self.of or len(known) * self.of < self.read * len(heads):  # the search of which the least is done
            self.read, self.of = len(known), len(heads)
        found = set(runs_with(known, names, made=made)) - set(self._attempts)
        return sorted(found, key=lambda head: head.started_at, reverse=True)

    def _take(self, heads: Sequence[Head]) -> None:
        for head in heads:
            self._attempts[head] = _of_run(self._shelf, self._traces, head)

    def _graph(self) -> Lineage:
        return Lineage(item for items in self._attempts.values() for item in items)


def record_of_version(shelf: Shelf, model: str, version: str) -> ModelVersion | None:
    """Return the record of a model's version; None where there is none."""
    ref = f"models/{shelf.namespace}/{model}"
    # A registry counts as the ref does, as a rule: then its own entry is the first one read, and not the last of many.
    place = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
    near = itertools.islice(shelf.store.history(ref, newest_first=True, up_to=place), 3) if place else ()
    for entry in itertools.chain(near, shelf.store.history(ref, newest_first=True)):
        try:
            found = ModelVersion.from_dict(entry.value)
        except (RecordError, TypeError, ValueError):
            continue
        if found.version == version:
            return found
    return None


def _of_run(shelf: Shelf, traces: Traces, head: Head) -> tuple[Provenance, ...]:
    return traces.graphs.get(
        (shelf.store.uri, shelf.namespace, head.dag, head.run),
        lambda: tuple(_slim(item) for item in shelf.in_short(head.dag, head.run)[0]),
        seconds=lambda items: shelf.good_for(max((item.ended_at for item in items), default=None)),
    )


def _slim(item: Provenance) -> Provenance:
    """Return a task without what no graph shows: the records themselves, but for their names."""
    outputs = tuple(replace(one, value=_named(one)) for one in item.outputs)
    inputs = tuple(replace(one, value=None) for one in item.inputs)
    return replace(item, inputs=inputs, outputs=outputs, beside=(), call=None, settings={}, params={}, returned=None)


def _named(handle: Handle) -> JSON:
    if handle.record in (Rollout.__name__, ScoreTable.__name__) or not isinstance(handle.value, dict):
        return handle.value
    return {name: handle.value[name] for name in (*_NAMES, *_VERSIONS) if name in handle.value}


def _served(attempts: Iterable[Provenance], record: ModelVersion) -> Iterable[Step]:
    """Yield what was done with a version by its name: canaries that gave it traffic, and scores."""
    for item in attempts:
        for handle in item.outputs:
            rollout, scores = record_of(handle, Rollout), record_of(handle, ScoreTable)
            by_name = rollout is not None and (rollout.model, rollout.challenger) == (record.name, record.version)
            if by_name or (scores is not None and (scores.model, scores.version) == (record.name, record.version)):
                yield Step(depth=1, record=handle.record, digest=handle.digest, made_by=item)


def _node(step: Step, depth: int) -> dict[str, Any]:
    item = step.made_by
    handle = next((one for one in item.outputs if one.digest == step.digest), None)
    return {
        "digest": step.digest,
        "record": step.record,
        "label": _label(handle) or step.record,
        "depth": depth,
        "made_by": task_ref_of(item),
        "commit": item.git.commit,
        "at": format_time(item.ended_at),
    }


def _label(handle: Handle | None) -> str:
    value = handle.value if handle is not None and isinstance(handle.value, dict) else {}
    name, version = (next((value[key] for key in keys if value.get(key)), "") for keys in (_NAMES, _VERSIONS))
    return " ".join(str(part) for part in (name, version) if part)[:250]


def _edges(steps: Sequence[Step], shown: dict[str, Any]) -> list[dict[str, str]]:
    """Return which node was made from which: those whose task took the other, itself or within another record."""
    found: dict[tuple[str, str], None] = {}
    inside: dict[str, str] = {}
    for step in steps:
        for handle in step.made_by.outputs:
            if handle.digest in shown:
                inside |= {digest: handle.digest for digest in handle.contains.values() if digest not in shown}
    for step in steps:
        if step.digest not in shown:
            continue
        taken = [digest for handle in step.made_by.inputs for digest in (handle.digest, *handle.contains.values())]
        nearest = [digest for digest in taken if digest in shown] or [inside[one] for one in taken if one in inside]
        for digest in nearest:
            if digest != step.digest:
                found[digest, step.digest] = None
    return [{"from": start, "to": end} for start, end in found]
