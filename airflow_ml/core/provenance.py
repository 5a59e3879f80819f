"""Provenance: what one task did, with which code and data, so that every result has a cause."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_ml.core.artifact import check_ref
from airflow_ml.core.call import Call, FunctionRef
from airflow_ml.core.fingerprint import canonical_json, digest_bytes, digest_json
from airflow_ml.core.record import JSON, Record, encode, parse
from airflow_ml.errors import InvalidKey, NotARecord, RecordTooNew

SUCCEEDED, FAILED, SKIPPED = "succeeded", "failed", "skipped"
#: What stands where git was asked and had no answer.
UNKNOWN = "unknown"
HIT, MISS = "hit", "miss"
#: A setting or returned value above this size is kept as its digest.
VALUE_BYTES = 16 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A record that went into a task or came out of it."""

    #: Where it was: the templated field or ``return``, with keys and positions below it, joined by dots.
    name: str
    #: Kind of the record, for example ``FeatureSet``.
    record: str
    #: Its fingerprint; for an artifact the digest of its content.
    digest: str
    #: Digests of the records and artifacts inside of it, by their place.
    contains: Mapping[str, str] = field(default_factory=dict)
    #: The record in wire form; None where it was too large to be kept, or held a masked secret.
    value: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """The checkout in which a DAG file lies."""

    commit: str = UNKNOWN
    branch: str = UNKNOWN
    #: ``yes``, ``no`` or ``unknown``: whether tracked files differed from the commit.
    dirty: str = UNKNOWN
    #: Digest of what differed, as a text in the store, with what looks like a secret masked.
    changes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance(Record):
    """One attempt of one task. A retry appends another one behind it."""

    dag: str
    run: str
    task: str
    #: Position in a mapped task; -1 for a task that is not mapped.
    map_index: int = -1
    #: Informative: no identity depends on it.
    try_number: int = 0
    namespace: str
    #: The operator's class, or the decorator.
    operator: str
    #: The user's function, where there is one.
    function: FunctionRef | None = None
    #: What ran, for a function that can run elsewhere; `reproduce` needs it.
    call: Call | None = None
    #: ``hit``, ``miss``, or nothing where no cache was asked for.
    cache: str = ""
    #: Why there is no call, for a function that is bound to its process.
    not_portable: str = ""
    git: GitState = field(default_factory=GitState)
    bundle: str = ""
    bundle_version: str = ""
    #: The container image, where the deployment says it (``AIRFLOW_ML_IMAGE``).
    image: str = ""
    airflow_ml: str
    python: str
    platform: str
    cpu: str
    cpus: int
    #: Digest of the list of distributions, and where in the store the list is.
    environment: str
    #: The run's params, secrets masked.
    params: Mapping[str, JSON] = field(default_factory=dict)
    #: The task's own arguments as rendered, records in them by digest, secrets masked.
    settings: Mapping[str, JSON] = field(default_factory=dict)
    seed: int | None = None
    inputs: tuple[Handle, ...] = ()
    outputs: tuple[Handle, ...] = ()
    #: Records that it pushed beside what it returned, by their XCom key: a gate's ``report``, a sweep's ``plan``.
    beside: tuple[Handle, ...] = ()
    #: What the task returned, records in it by digest, secrets masked; a large value by its own digest.
    returned: JSON = None
    #: Identifiers in the warehouse's own query history.
    statements: tuple[str, ...] = ()
    #: Kind of the run, and who triggered it where a person did.
    triggered_by: str = ""
    started_at: datetime
    ended_at: datetime
    #: ``succeeded``, ``failed`` or ``skipped``.
    outcome: str
    #: Type and message, secrets masked.
    error: str = ""
    #: What the error itself says can be done; nothing for one that is not of airflow_ml.
    remedy: str = ""
    #: Rows of the failure table, the most frequent first, where calls elsewhere failed.
    reasons: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The task's name, with its position where it is mapped: ``train.shards[3]``."""
        return self.task if self.map_index < 0 else f"{self.task}[{self.map_index}]"

    @property
    def seconds(self) -> float:
        """How long the attempt took."""
        return (self.ended_at - self.started_at).total_seconds()


def run_ref(namespace: str, dag: str, run: str) -> str:
    """Return the ref below which a run's tasks are: run ids have characters that no ref has, so their digest stands."""
    return f"runs/{_segment(namespace)}/{_segment(dag)}/{hashlib.sha256(run.encode()).hexdigest()[:32]}"


def task_ref(namespace: str, dag: str, run: str, task: str, map_index: int = -1) -> str:
    """Return the ref to which a task's attempts are appended."""
    # "@" is in no task id: an unmapped task "a.3" and position 3 of "a" stay apart.
    suffix = f"@{map_index}" if map_index >= 0 else ""
    return check_ref(f"{run_ref(namespace, dag, run)}/{_segment(task)}{suffix}")


def index_ref(namespace: str, dag: str) -> str:
    """Return the ref with one entry for each run of a DAG, in the order in which they began."""
    return f"run_index/{_segment(namespace)}/{_segment(dag)}"


def find_handles(name: str, value: Any) -> Iterator[Handle]:
    """Yield the outermost records in a value: records, their wire form, and lists and dicts of them."""
    if isinstance(value, Record):
        value = value.to_dict()
    if isinstance(value, Mapping) and isinstance(value.get("record"), str):
        contains = {path: digest for path, digest in _inner("", value) if path}
        yield Handle(
            name=name, record=value["record"], digest=record_digest(value), contains=contains, value=encode(value)
        )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_handles(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from find_handles(f"{name}.{position}", item)


def without_records(value: Any) -> JSON:
    """Return a JSON value with each record in it replaced by its kind and digest."""
    if isinstance(value, Record):
        value = value.to_dict()
    if isinstance(value, Mapping):
        if isinstance(value.get("record"), str):
            return {"record": value["record"], "digest": record_digest(value)}
        return {str(key): without_records(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_records(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def bounded(value: JSON) -> JSON:
    """Return a small value itself, and of a large one its size and digest."""
    data = canonical_json(value)
    return value if len(data) <= VALUE_BYTES else {"bytes": len(data), "digest": digest_bytes(data)}


def record_digest(value: Mapping[str, Any]) -> str:
    """Return an artifact's content digest, or another record's fingerprint."""
    if value["record"] == "Artifact" and isinstance(value.get("digest"), str):
        return str(value["digest"])
    try:
        return parse(value).fingerprint
    except (NotARecord, RecordTooNew, TypeError, ValueError):
        return digest_json(encode(value))  # of a kind that this process does not know


def find_field(name: str, value: Any) -> Iterator[Any]:
    """Yield every value under a key, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == name:
                yield item
            else:
                yield from find_field(name, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from find_field(name, item)


def find_records(kind: str, value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every record of a kind in wire form, at any depth, outer ones first."""
    if isinstance(value, Mapping):
        if value.get("record") == kind:
            yield value
        for item in value.values():
            yield from find_records(kind, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from find_records(kind, item)


def _inner(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the records inside of a value by their place, the value itself with an empty place."""
    if isinstance(value, Mapping):
        if isinstance(value.get("record"), str):
            yield path, record_digest(value) if path else ""
        for key, item in value.items():
            yield from _inner(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _inner(f"{path}.{position}" if path else str(position), item)


def _segment(text: str) -> str:
    """Return a name as a segment of a ref; one that does not fit the grammar by its digest."""
    if _PLAIN.match(text) and not text.endswith("."):
        return text
    if not text:
        raise InvalidKey("A name is empty", repr(text), "Give a DAG, a task and a namespace.")
    return f"x={hashlib.sha256(text.encode()).hexdigest()[:32]}"  # "=" is in no plain name
