"""The verb ``diff``: what differs between two runs, tasks, model versions or artifacts, most probable cause first."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_ml.cli.output import print_json, print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.cli.sides import ARTIFACT, TASK, Side, find_side
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.code_text import code_diff
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance, find_records
from airflow_ml.core.record import JSON, encode
from airflow_ml.core.run_diff import DATA, ENVIRONMENT, METRICS, Change, diff_runs, ranked, value_changes
from airflow_ml.errors import ArtifactNotFound, ConfigurationError

#: Tables that are compared column by column; a line has dozens, and the first ones are the causes of the others.
_TABLES, _COLUMNS = 3, 12
#: Larger ones are compared where they are asked for by themselves.
_TABLE_BYTES = 512 * 1024 * 1024
_DISTRIBUTIONS = 12


def diff(options: argparse.Namespace) -> int:
    """Print the differences of two things of one kind, then the changed code and data."""
    store = open_place(options)
    first, second = (find_side(address, store, options.namespace) for address in (options.first, options.second))
    if first.kind != second.kind:
        kinds = f"{first.title} is a {first.kind}, {second.title} a {second.kind}"
        raise ConfigurationError("Two different kinds of things", kinds, "Compare things of one kind.")
    changes = [*_changes(first, second, store)]
    code = [*_code(first.attempts, second.attempts, store), *_definitions(first.attempts, second.attempts, store)]
    data = list(_data(first, second, store)) if not options.no_data else []
    if options.output == "json":
        print_json({"changes": [dataclasses.asdict(change) for change in changes], "code": code, "data": data})
        return 0
    if not changes and not data:
        print("No difference.")
        return 0
    if changes:
        print_rows(options, [dataclasses.asdict(change) for change in changes])
    for table in data:
        print(f"\n{table['table']}")
        print_rows(options, table["columns"])
        if table["more"]:
            print(f"and {table['more']} columns more; --output json has all")
    if code:
        print()
    for line in code:
        print(line)
    return 0


def _changes(first: Side, second: Side, store: ArtifactStore) -> list[Change]:
    after = second.attempts
    if first.kind == TASK:
        # Whatever they are called: the same work under two names is what is asked for.
        other = first.attempts[0]
        after = (replace(after[0], task=other.task, map_index=other.map_index),)
    found = [change for change in diff_runs(first.attempts, after) if not _is_environment(change)]
    found += _environment(first.attempts, second.attempts, store)
    if first.model is not None and second.model is not None:
        known = {(change.kind, change.what) for change in found}
        before, now = (encode(item.model.metrics) for item in (first, second) if item.model is not None)
        extra = [Change(kind=METRICS, task=second.title, what=what) for what in value_changes("metrics", before, now)]
        found += [change for change in extra if (change.kind, change.what) not in known]
    if first.artifact is not None and second.artifact is not None and first.kind == ARTIFACT:
        for name in ("format", "rows", "size_bytes"):
            old, new = getattr(first.artifact, name), getattr(second.artifact, name)
            if old != new:
                found.append(Change(kind=DATA, task="", what=f"{name}: {old} > {new}"))
    return ranked(found)


def _is_environment(change: Change) -> bool:
    return change.kind == ENVIRONMENT and change.what.startswith("environment:")


def _environment(before: Sequence[Provenance], after: Sequence[Provenance], store: ArtifactStore) -> list[Change]:
    """Name the distributions that changed, instead of two digests."""
    others = {item.title: item for item in after}
    for item in before:
        other = others.get(item.title, after[0] if len(before) == len(after) == 1 else None)
        if other is None or other.environment == item.environment:
            continue
        lists = [_distributions(one.environment, store) for one in (item, other)]
        if any(not one for one in lists):
            return [Change(kind=ENVIRONMENT, task=item.title, what="environment: another list of distributions")]
        old, new = lists
        names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        changes = [f"{name}: {old.get(name, 'absent')} > {new.get(name, 'absent')}" for name in names]
        more = [f"and {len(changes) - _DISTRIBUTIONS} distributions more"] if len(changes) > _DISTRIBUTIONS else []
        return [Change(kind=ENVIRONMENT, task=item.title, what=what) for what in (*changes[:_DISTRIBUTIONS], *more)]
    return []


def _distributions(digest: str, store: ArtifactStore) -> Mapping[str, Any]:
    try:
        listed = json.loads(store.get_bytes(Artifact(digest=digest, format="json", size_bytes=0, uri="")))
    except ArtifactNotFound:
        return {}
    found: Mapping[str, Any] = listed["distributions"]
    return found


def _code(first: Sequence[Provenance], second: Sequence[Provenance], store: ArtifactStore) -> Iterator[str]:
    """Yield unified diffs of the functions that both sides have and that differ."""
    before, after = _packages(first), _packages(second)
    if len(first) == len(second) == 1:  # two tasks: whatever their functions are called
        before, after = ({"": next(iter(packages.values()))} if packages else {} for packages in (before, after))
    seen = set()
    for name in sorted({*before} & {*after}):
        pair = (before[name].digest, after[name].digest)
        if pair[0] != pair[1] and pair not in seen:
            seen.add(pair)
            old, new = (json.loads(store.get_bytes(packages[name])) for packages in (before, after))
            yield from code_diff(old, new)


def _packages(attempts: Sequence[Provenance]) -> dict[str, Artifact]:
    found: dict[str, Artifact] = {}
    for item in attempts:
        wires: list[Any] = [handle.value for handle in (*item.outputs, *item.inputs)]
        if item.function is not None:
            wires.insert(0, item.function.to_dict())
        for wire in find_records("FunctionRef", wires):
            if wire.get("package") is not None:
                found.setdefault(str(wire["qualname"]), Artifact.from_dict(wire["package"]))
    return found


def _definitions(first: Sequence[Provenance], second: Sequence[Provenance], store: ArtifactStore) -> Iterator[str]:
    """Yield unified diffs of the feature views whose definition changed."""
    before, after = ({str(wire["view"]): wire for wire in _feature_sets(side)} for side in (first, second))
    for name in sorted({*before} & {*after}):
        if before[name]["view_digest"] != after[name]["view_digest"]:
            texts = [
                json.dumps(
                    json.loads(store.get_bytes(Artifact.from_dict(wire["definition"]))), indent=1, sort_keys=True
                )
                for wire in (before[name], after[name])
            ]
            old, new = (text.splitlines() for text in texts)
            yield from difflib.unified_diff(old, new, f"first/view {name}", f"second/view {name}", lineterm="", n=2)


def _definition(wire: Mapping[str, Any], store: ArtifactStore) -> list[str]:
    definition = json.loads(store.get_bytes(Artifact.from_dict(wire["definition"])))
    return json.dumps(definition, indent=1, sort_keys=True).splitlines()


def _feature_sets(attempts: Sequence[Provenance]) -> Iterator[Mapping[str, Any]]:
    for item in attempts:
        yield from find_records("FeatureSet", [handle.value for handle in item.outputs])


def _data(first: Side, second: Side, store: ArtifactStore) -> Iterator[dict[str, Any]]:
    """Yield the tables that differ, column by column."""
    from airflow_ml.runtime.table_diff import as_json, table_differences

    limit = _TABLE_BYTES if first.kind != ARTIFACT else None
    for name, old, new in _tables(first, second):
        if limit is not None and max(old.size_bytes, new.size_bytes) > limit:
            continue
        try:
            differences = table_differences(store.path(old), store.path(new))
        except ArtifactNotFound:
            continue  # cleaned away; its digest is still told
        columns: list[dict[str, JSON]] = [as_json(item) for item in differences]
        if columns:
            yield {"table": name, "columns": columns[:_COLUMNS], "more": len(columns[_COLUMNS:])}


def _tables(first: Side, second: Side) -> list[tuple[str, Artifact, Artifact]]:
    """Return pairs of tables that stand in the same place on both sides, each pair once, causes first."""
    if first.artifact is not None and second.artifact is not None:
        pair = (first.artifact, second.artifact)
        return [("columns", *pair)] if all(item.format == "parquet" for item in pair) else []
    found: dict[tuple[str, str], tuple[str, Artifact, Artifact]] = {}
    others = {item.title: item for item in second.attempts}
    alone = len(first.attempts) == len(second.attempts) == 1
    for item in sorted(first.attempts, key=lambda one: one.started_at):
        other = others.get(item.title, second.attempts[0] if alone else None)
        if other is None:
            continue
        # Of a task by itself also what went in: that is where its cause lies.
        sides = [(*one.inputs, *one.outputs) if first.kind == TASK else one.outputs for one in (item, other)]
        there = {handle.name: handle for handle in sides[1]}
        for handle in sides[0]:
            old = _table_of(handle.value)
            new = _table_of(there[handle.name].value) if handle.name in there else None
            if old is not None and new is not None and old.digest != new.digest:
                found.setdefault((old.digest, new.digest), (f"{handle.record} {handle.name} of {item.title}", old, new))
    return list(found.values())[:_TABLES]


def _table_of(wire: JSON) -> Artifact | None:
    if not isinstance(wire, dict):
        return None
    inner = wire if wire.get("record") == "Artifact" else wire.get("artifact")
    is_table = isinstance(inner, dict) and inner.get("format") == "parquet" and wire.get("record") != "Leaderboard"
    return Artifact.from_dict(inner) if is_table and isinstance(inner, dict) else None
