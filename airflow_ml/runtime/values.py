"""Converts arguments of a user's function from wire form to Python values, and its result back to wire form."""

from __future__ import annotations

import inspect
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, cast

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import CallResults, Constant
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import canonical_json, format_time, parse_time
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, XCOM_LIMIT_BYTES, Record, parse
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.core.sweep import Leaderboard
from airflow_ml.errors import NotARecord
from airflow_ml.runtime.codecs import load_value, store_value
from airflow_ml.runtime.open_leaderboard import OpenLeaderboard

#: A larger table arrives as `Rows`, to be read as far as it is used: as a frame it would take a few times its size.
LARGE_BYTES = 256 * 1024 * 1024
#: The name of an artifact that holds a JSON value only because of the value's size.
LARGE_JSON = "large value"
#: Of a list this long each item may be an artifact of its own: more tasks than that are not mapped by default.
MAX_ITEMS = 1024
_NO_JSON = object()
_COLLECTIONS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def open_value(value: Any, store: ArtifactStore, *, lazily: bool = False, trusted: bool = False) -> Any:
    """Return a value as a user's function sees it.

    A `FeatureSet` becomes `Data`, with its record as ``.record``; a `DatasetSnapshot` and a large table become `Rows`;
    a `Leaderboard` becomes an `OpenLeaderboard`; `CallResults` become the list of what the calls returned; another
    artifact becomes the value it holds, any other record is parsed. Lists and dicts are looked through.

    Args:
        value: JSON, with records in wire form.
        store: Where the artifacts are.
        lazily: Give every table as `Rows`.
        trusted: Whether a pickle may be loaded; only a process without secrets may say so.
    """
    if type(value) in (list, tuple):
        return type(value)(open_value(item, store, lazily=lazily, trusted=trusted) for item in value)
    if not isinstance(value, Mapping):
        return value
    record = _parsed(value) if "record" in value else None
    if record is None:
        return {name: open_value(item, store, lazily=lazily, trusted=trusted) for name, item in value.items()}
    if isinstance(record, Constant):
        if record.kind == "dict":
            pairs = cast(Sequence[Any], record.value)
            return dict(open_value([*pair], store, lazily=lazily, trusted=trusted) for pair in pairs)
        if record.kind not in _COLLECTIONS:
            return _constant(record)
        return _COLLECTIONS[record.kind](open_value(record.value, store, lazily=lazily, trusted=trusted))
    if isinstance(record, CallResults):
        from airflow_ml.runtime.call_results import read_values

        return [open_value(item, store, lazily=lazily, trusted=trusted) for item in read_values(record, store)]
    if not isinstance(record, Artifact):
        return _opened(record, store)
    if record.format == "parquet" and (lazily or record.size_bytes > LARGE_BYTES):
        return _rows(record, record, store)
    return load_value(record, store, trusted=trusted)


def _opened(record: Record, store: ArtifactStore) -> Any:
    """Return what a record stands for, to be read when it is used; a record that stands for no rows itself."""
    if isinstance(record, FeatureSet):
        from airflow_ml.runtime.data import Data

        table = record.artifact
        return Data(lambda: store.path(table), record)
    if isinstance(record, DatasetSnapshot):
        return _rows(record, record.artifact, store)
    return OpenLeaderboard(record, store) if isinstance(record, Leaderboard) else record


def open_arguments(
    function: Callable[..., Any], arguments: Mapping[str, Any], store: ArtifactStore, *, trusted: bool = False
) -> dict[str, Any]:
    """Return the arguments of a user's function, opened; a parameter annotated as `Rows` gets its table lazily."""
    wanted = lazy_parameters(function)
    return {name: open_value(value, store, lazily=name in wanted, trusted=trusted) for name, value in arguments.items()}


def call_with(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function with arguments by name, ``*args`` as a list and ``**kwargs`` as a dict, as `bind` gives them."""
    bound = inspect.BoundArguments(inspect.signature(function), OrderedDict(arguments))
    return function(*bound.args, **bound.kwargs)


def wire_argument(value: Any, store: ArtifactStore) -> JSON:
    """Return an argument of a call in wire form; what is neither JSON nor a record nor a date is stored as an artifact.

    Raises:
        NoCodec: nothing stores a value of that type safely.
    """
    if isinstance(value, OpenLeaderboard):
        value = value.record
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, datetime):
        return Constant(kind="datetime", value=format_time(value)).to_dict()
    if isinstance(value, date):
        return Constant(kind="date", value=value.isoformat()).to_dict()
    if isinstance(value, timedelta):
        return Constant(kind="timedelta", value=value.total_seconds()).to_dict()
    if type(value) in _COLLECTIONS.values():
        items = [wire_argument(item, store) for item in value]
        ordered = items if isinstance(value, tuple) else sorted(items, key=canonical_json)
        return Constant(kind=type(value).__name__, value=ordered).to_dict()
    plain = _NO_JSON if _would_change(value) else _as_json(value)
    if plain is not _NO_JSON:
        return cast(JSON, plain)
    if isinstance(value, Mapping):
        if all(isinstance(name, str) for name in value):
            return {name: wire_argument(item, store) for name, item in value.items()}
        pairs: list[JSON] = [[wire_argument(name, store), wire_argument(item, store)] for name, item in value.items()]
        return Constant(kind="dict", value=pairs).to_dict()
    if isinstance(value, list):
        return [wire_argument(item, store) for item in value]
    return _stored(value, store)


def needed_artifacts(value: JSON) -> Iterator[Artifact]:
    """Yield the artifacts that are read when a value is opened: of a feature set its table, not what it was made of."""
    if isinstance(value, list):
        for item in value:
            yield from needed_artifacts(item)
    elif isinstance(value, Mapping):
        if value.get("record") == "Artifact":
            yield Artifact.from_dict(value)
        elif value.get("record") in ("FeatureSet", "DatasetSnapshot", "CallResults"):
            yield Artifact.from_dict(cast(Mapping[str, Any], value["artifact"]))
        else:
            for item in value.values():
                yield from needed_artifacts(item)


def parse_argument(value: JSON, store: ArtifactStore) -> Any:
    """Return an argument as the package's own functions see it: an artifact's value, a record, or the JSON itself."""
    if not isinstance(value, Mapping) or "record" not in value:
        return value
    record = _parsed(value)
    if record is None:
        return value
    return load_value(record, store) if isinstance(record, Artifact) else record


def to_wire(value: Any, store: ArtifactStore, *, items: bool = False, parts: bool = False) -> JSON:
    """Return what a function gave back as JSON that fits between tasks.

    A record stays one; JSON of at most 32 KiB stays what it is; a list or dict that holds other things has each of them
    stored as an artifact; anything else is one artifact.

    Args:
        value: What the function returned.
        store: Where artifacts go.
        items: Whether the function says that it returns a list: then each item of a large one is an artifact of its
            own, so that a task can be mapped over them.
        parts: Whether each value of a dict becomes an XCom of its own (``multiple_outputs``).

    Raises:
        NoCodec: nothing stores a value of that type safely.
    """
    if isinstance(value, OpenLeaderboard):
        value = value.record
    if isinstance(value, Record):
        return value.to_dict()
    if parts and isinstance(value, Mapping):
        return {str(name): to_wire(item, store) for name, item in value.items()}
    if isinstance(value, list | tuple) and items and len(value) <= MAX_ITEMS and not _fits(value):
        return [item.to_dict() if isinstance(item, Record) else _stored(item, store) for item in value]
    wire = _containers(value, store)
    if len(canonical_json(wire)) <= XCOM_LIMIT_BYTES or _holds_records(wire):
        return wire
    return store_value(wire, store, name=LARGE_JSON).to_dict()


def without_size_limit(value: JSON, store: ArtifactStore) -> JSON:
    """Return a value that became an artifact only because of its size."""
    if isinstance(value, Mapping) and value.get("record") == "Artifact":
        artifact = Artifact.from_dict(value)
        if artifact.metadata.get("name") == LARGE_JSON:
            loaded: JSON = load_value(artifact, store)
            return loaded
    return value


def returns_list(function: Callable[..., Any]) -> bool:
    """Whether a function's annotation says that it returns a list."""
    return _annotation(getattr(function, "__annotations__", {}).get("return")).startswith(("list", "List", "tuple"))


def lazy_parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the parameters that are annotated as `Rows`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    return frozenset(item.name for item in parameters if _annotation(item.annotation).rpartition(".")[2] == "Rows")


def _annotation(annotation: Any) -> str:
    """Return an annotation as text, whether the file postpones their evaluation or not."""
    if isinstance(annotation, type):
        return annotation.__qualname__
    return str(annotation).removeprefix("typing.").strip("'\"")


def _parsed(value: Mapping[str, Any]) -> Record | None:
    try:
        return parse(value)
    except NotARecord:
        return None  # a plain dict that happens to have such a key


def _constant(record: Constant) -> Any:
    if record.kind == "timedelta":
        return timedelta(seconds=float(record.value))  # type: ignore[arg-type]  # seconds, as it was written
    return parse_time(str(record.value)) if record.kind == "datetime" else date.fromisoformat(str(record.value))


def _rows(record: DatasetSnapshot | Artifact, table: Artifact, store: ArtifactStore) -> Any:
    from airflow_ml.runtime.rows import Rows

    return Rows(record, lambda: store.path(table))


def _containers(value: Any, store: ArtifactStore) -> JSON:
    """Return a value as JSON, with what is not JSON as artifacts."""
    if isinstance(value, Record):
        return value.to_dict()
    plain = _as_json(value)
    if plain is not _NO_JSON:
        return cast(JSON, plain)
    if type(value) in (list, tuple):
        return [_containers(item, store) for item in value]
    if type(value) is dict and all(isinstance(name, str) for name in value):
        return {name: _containers(item, store) for name, item in value.items()}
    return _stored(value, store)


def _stored(value: Any, store: ArtifactStore) -> JSON:
    return store_value(value, store).to_dict()


def _as_json(value: Any) -> object:
    """Return JSON in the form in which a store gives it back, so that a cached result is the same as a fresh one.

    Numbers of other libraries that are floats become floats, and keys are sorted.
    """
    try:
        return json.loads(canonical_json(value))
    except (TypeError, ValueError):
        return _NO_JSON


def _would_change(value: Any) -> bool:
    """Whether JSON would make something else of a tuple or of a key, at any depth."""
    if type(value) in _COLLECTIONS.values():
        return True
    if isinstance(value, Mapping):
        return any(not isinstance(name, str) or _would_change(item) for name, item in value.items())
    return isinstance(value, list) and any(_would_change(item) for item in value)


def _fits(value: Any) -> bool:
    """Whether a list is JSON that fits, as it is, between tasks."""
    try:
        return len(canonical_json(value)) <= XCOM_LIMIT_BYTES
    except (TypeError, ValueError):
        return False


def _holds_records(wire: JSON) -> bool:
    """Whether a list or dict has records in it: within another artifact they would be out of sight of lineage."""
    items = wire if isinstance(wire, list) else wire.values() if isinstance(wire, dict) else []
    return any(isinstance(item, Mapping) and isinstance(item.get("record"), str) for item in items)
