"""What a model version was made from, and what was made from it, as a graph."""

from __future__ import annotations

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
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.records import record_of, task_ref_of
from airflow_ml.plugin.views.shelf import Head, Shelf

#: Runs that are searched for what was made from the version: the first ones after it, and the newest.
_RUNS = 30
_NODES = 200
#: What a record is called by, the first that it has, and what tells it from others of that name.
_NAMES, _VERSIONS = ("name", "view", "table", "model", "metric"), ("version", "outcome")
#: Runs whose graph one process remembers, some 10 kB each.
_known: Lru[tuple[Provenance, ...]] = Lru(300)


def lineage_view(
    shelf: Shelf, model: str, version: str, made_by: dict[str, Any] | None, may_read: Callable[[str], bool]
) -> dict[str, Any]:
    """Return a version's lineage.

    Args:
        shelf: The store's runs.
        model: Its name.
        version: Which one.
        made_by: The task that registered it.
        may_read: Whose tasks are shown.

    Raises:
        NotHere: there is no such version, or no task that made it.
    """
    record = _record(shelf, model, version)
    if record is None or made_by is None:
        raise NotHere(f"No task made version {version} of {model}")
    attempts = list(_attempts(shelf, made_by, may_read))
    graph = Lineage(attempts)
    digest = record.fingerprint
    up, down = list(graph.up(digest)), list(graph.down(digest))
    if not up:
        raise NotHere(f"No task made version {version} of {model}")
    for step in _served(attempts, record):
        down += [step, *(replace(one, depth=one.depth + 1) for one in graph.down(step.digest))]
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
    }


def _record(shelf: Shelf, model: str, version: str) -> ModelVersion | None:
    for entry in shelf.store.history(f"models/{shelf.namespace}/{model}", newest_first=True):
        try:
            found = ModelVersion.from_dict(entry.value)
        except (RecordError, TypeError, ValueError):
            continue
        if found.version == version:
            return found
    return None


def _attempts(shelf: Shelf, made_by: dict[str, Any], may_read: Callable[[str], bool]) -> Iterable[Provenance]:
    """Yield the tasks of the run that made it, and of runs after it."""
    heads = shelf.all_heads(may_read)
    own = [head for head in heads if (head.dag, head.run) == (made_by["dag_id"], made_by["run_id"])]
    later = [head for head in heads if own and head.started_at >= own[0].started_at and head is not own[0]]
    chosen: Sequence[Head] = [*own, *later[-_RUNS:], *later[:-_RUNS][:_RUNS]]
    for head in chosen:
        yield from _of_run(shelf, head)


def _of_run(shelf: Shelf, head: Head) -> tuple[Provenance, ...]:
    return _known.get(
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
