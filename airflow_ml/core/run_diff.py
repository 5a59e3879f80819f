"""What differs between two runs of a DAG, most probable cause first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.provenance import Handle, Provenance, find_records
from airflow_ml.core.record import JSON

#: Kinds of change, in the order in which they are shown: what people changed comes before what follows from it.
FEATURES, CODE, PARAMS, ENVIRONMENT, DATA, OUTCOME, METRICS = (
    "features", "code", "params", "environment", "data", "outcome", "metrics"
)  # fmt: skip
_ORDER = (FEATURES, CODE, PARAMS, ENVIRONMENT, DATA, OUTCOME, METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference."""

    kind: str
    #: The first task in which it shows.
    task: str
    #: In a few words.
    what: str


def diff_runs(before: Sequence[Provenance], after: Sequence[Provenance]) -> list[Change]:
    """Return the differences of two runs, ranked by kind, then by the order of the tasks.

    Args:
        before: Newest attempt of each task of the earlier run, in the order in which they began.
        after: The same of the later one.
    """
    left = {item.title: item for item in before}
    found: dict[tuple[str, str], Change] = {}
    for one in after:
        if one.title in left:
            for kind, what in _changes(left[one.title], one):
                # A record that is passed on from task to task differs in each of them: it is shown once.
                found.setdefault((kind, what), Change(kind=kind, task=one.title, what=what))
    right = {item.title for item in after}
    for title in [item.title for item in before if item.title not in right]:
        found[OUTCOME, title] = Change(kind=OUTCOME, task=title, what="ran in the first run only")
    for title in [item.title for item in after if item.title not in left]:
        found[OUTCOME, title] = Change(kind=OUTCOME, task=title, what="ran in the second run only")
    return ranked(found.values())


def ranked(changes: Iterable[Change]) -> list[Change]:
    """Return changes by kind, what people changed first; within a kind in the order given."""
    return sorted(changes, key=lambda change: _ORDER.index(change.kind))


def value_changes(name: str, left: JSON, right: JSON) -> Iterator[str]:
    """Yield in words the leaves in which two JSON values differ."""
    return _leaves(name, left, right)


def _changes(left: Provenance, right: Provenance) -> Iterator[tuple[str, str]]:
    yield from ((CODE, what) for what in _code(left, right))
    for name in ("params", "settings"):
        yield from ((PARAMS, what) for what in _leaves(name, getattr(left, name), getattr(right, name)))
    if left.seed != right.seed:
        yield PARAMS, f"seed: {left.seed} > {right.seed}"
    for name in ("python", "airflow_ml", "image", "bundle_version", "cpu", "environment"):
        if getattr(left, name) != getattr(right, name):
            yield ENVIRONMENT, f"{name}: {_short(getattr(left, name))} > {_short(getattr(right, name))}"
    if left.outcome != right.outcome:
        yield OUTCOME, f"{left.outcome} > {right.outcome}{f': {right.error[:100]}' if right.error else ''}"
    others = {handle.name: handle for handle in right.outputs}
    for handle in left.outputs:
        if handle.name in others:
            yield from _record_changes(handle, others[handle.name])


def _code(left: Provenance, right: Provenance) -> Iterator[str]:
    functions = [_functions(item) for item in (left, right)]
    for name, digest in functions[1].items():
        earlier = functions[0].get(name)
        if earlier is not None and earlier != digest:
            yield f"function {name}: {_short(earlier)} > {_short(digest)}"


def _functions(item: Provenance) -> dict[str, str]:
    """Return the digests of the functions that a task ran or was given, by name."""
    wires: list[Any] = [handle.value for handle in (*item.outputs, *item.inputs)]
    if item.function is not None:
        wires.insert(0, item.function.to_dict())
    found: dict[str, str] = {}
    for wire in find_records("FunctionRef", wires):
        found.setdefault(str(wire["qualname"]), str(wire["digest"]))
    return found


def _record_changes(left: Handle, right: Handle) -> Iterator[tuple[str, str]]:
    if left.digest == right.digest or not isinstance(left.value, Mapping) or not isinstance(right.value, Mapping):
        return
    old, new = left.value, right.value
    if left.record == right.record == "FeatureSet":
        yield from _feature_changes(old, new)
    yield from _data_changes(old, new)
    for name in ("metrics", "best", "measures"):
        if isinstance(old.get(name), Mapping | list) and isinstance(new.get(name), Mapping | list):
            yield from ((METRICS, f"{left.record} {what}") for what in _leaves(name, old[name], new[name]))


def _feature_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    added = [name for name in new["features"] if name not in old["features"]]
    removed = [name for name in old["features"] if name not in new["features"]]
    names = f"view {old['view']} > {new['view']}" if old["view"] != new["view"] else f"view {new['view']}"
    for name in added:
        yield FEATURES, f"{names}: feature {name} added"
    for name in removed:
        yield FEATURES, f"{names}: feature {name} removed"
    if not added and not removed and old["view_digest"] != new["view_digest"]:
        yield FEATURES, f"{names}: definition changed, same features"


def _data_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = " ".join([str(new["record"]), *([new["name"]] if isinstance(new.get("name"), str) else [])])
    then, now = old.get("artifact"), new.get("artifact")
    if not isinstance(then, Mapping) or not isinstance(now, Mapping):
        return
    columns = [{column["name"]: column["dtype"] for column in table.get("columns") or ()} for table in (then, now)]
    for name in sorted({*columns[0], *columns[1]}):
        types = [found.get(name, "absent") for found in columns]
        if types[0] != types[1]:
            yield DATA, f"{kind} column {name}: {types[0]} > {types[1]}"
    if then.get("rows") != now.get("rows"):
        yield DATA, f"{kind} rows: {then.get('rows')} > {now.get('rows')}"
    elif then.get("digest") != now.get("digest") and new["record"] != "Leaderboard":
        yield DATA, f"{kind}: other content in {now.get('rows')} rows"
    if old.get("as_of") != new.get("as_of"):
        yield DATA, f"{kind} as of: {old.get('as_of')} > {new.get('as_of')}"


def _leaves(path: str, left: JSON, right: JSON) -> Iterator[str]:
    """Yield the leaves that differ; records, which stand by their digest, are told elsewhere."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if "record" in left and "digest" in left and "record" in right:
            return
        for key in sorted({*left, *right}):
            yield from _leaves(f"{path}.{key}", left.get(key), right.get(key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for position, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _leaves(f"{path}.{position}", one, other)
    elif left != right:
        yield f"{path}: {_short(left)} > {_short(right)}"


def _short(value: Any) -> str:
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[7:19]
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
