"""Records: the frozen, versioned values that cross a task boundary as plain JSON.

On the wire a record is an object with its name and schema number first, for example
``{"record": "DatasetSnapshot", "schema": 1, "rows": 81093, ...}``: readable in the Airflow UI, over REST and in Jinja,
with no class for Airflow to allow-list.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar, Union, cast

from airflow_ml.core.fingerprint import canonical_json, digest_bytes, format_time, parse_time
from airflow_ml.errors import NotARecord, RecordTooLarge, RecordTooNew

#: A record above this size is refused at the task boundary; XCom is for handles, not for data.
XCOM_LIMIT_BYTES = 32 * 1024

JSON = Union[None, bool, int, float, str, list["JSON"], dict[str, "JSON"]]  # noqa: UP007 - a recursive alias

_REGISTRY: dict[str, type[Record]] = {}
#: Module of this package -> the records it defines, so that whoever meets one can read it.
_HOMES = {
    "artifact": "Artifact",
    "call": "Call CallResult CallResults Constant FunctionRef",
    "canary": "Rollout",
    "compute": "ComputeProfile Gpus Resources",
    "far_side": "IndexResult",
    "features": "FeatureSet",
    "gate": "GateReport",
    "job": "IndexFailure JobHandle JobRequest JobStatus",
    "job_attempt": "JobAttempt",
    "metric_query": "SqlOutcomes",
    "metric_series": "PrometheusQueries",
    "monitoring": "DriftReport ScoreTable",
    "provenance": "Provenance",
    "registration": "ModelVersion",
    "rollout_plan": "RolloutPlan",
    "rollout_state": "RolloutState",
    "selection": "Selection",
    "snapshot": "DatasetSnapshot",
    "sweep": "Leaderboard SweepPlan",
}
R = TypeVar("R", bound="Record")


class Record:
    """Base of all records. Subclasses are ``@dataclass(frozen=True, slots=True, kw_only=True)``.

    Field types may be: JSON scalars, ``datetime`` (aware), other dataclasses, ``tuple[X, ...]``, ``Mapping[str, X]``,
    ``X | None`` and ``JSON``.
    """

    __slots__ = ()

    #: Raised by one when a field changes its meaning; readers take this number and the one before.
    schema: ClassVar[int] = 1
    #: Fields that say where or when, not what: they are on the wire and not in the fingerprint.
    incidental: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # dataclass(slots=True) makes the class a second time; the later one is the one in use.
        _REGISTRY[cls.__name__] = cls

    def to_dict(self) -> dict[str, JSON]:
        """Return the wire form."""
        wire: dict[str, JSON] = {"record": type(self).__name__, "schema": self.schema}
        for name in _names(self):
            wire[name] = encode(getattr(self, name))
        return wire

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the wire form back.

        Raises:
            NotARecord: if the value is something else, or lacks a field.
            RecordTooNew: if a newer airflow_ml wrote it.
        """
        if data.get("record") != cls.__name__:
            raise NotARecord(
                f"Expected a {cls.__name__}",
                data.get("record", f"keys {sorted(data)[:8]}"),
                "Pass the output of the stage that makes it.",
            )
        number = data.get("schema")
        if not isinstance(number, int) or number > cls.schema:
            raise RecordTooNew(
                f"{cls.__name__} has schema {number!r}, this airflow_ml reads {cls.schema} and {cls.schema - 1}",
                "",
                "Upgrade airflow-ml here to the version that wrote it.",
            )
        if number < cls.schema - 1:
            raise NotARecord(
                f"{cls.__name__} has schema {number}, this airflow_ml reads {cls.schema} and {cls.schema - 1}",
                "",
                "Run the task that made it again.",
            )
        return cast(Self, _decode_dataclass(cls, cls.upgrade({**data}, number)))

    @classmethod
    def upgrade(cls, data: dict[str, Any], number: int) -> dict[str, Any]:
        """Turn the wire form of schema ``number`` into the current one; overridden where a schema changed."""
        return data

    @property
    def fingerprint(self) -> str:
        """The digest of what the record says, without its incidental fields: its identity, by which later records
        name it as their parent. Doing the same again gives the same one."""
        return digest_bytes(canonical_json(_identity(self)))

    def to_xcom(self) -> dict[str, JSON]:
        """Return the wire form, refusing what is too large for XCom.

        Raises:
            RecordTooLarge: above 32 KiB.
        """
        wire = self.to_dict()
        size = len(canonical_json(wire))
        if size > XCOM_LIMIT_BYTES:
            raise RecordTooLarge(
                f"{type(self).__name__} has {size} bytes, over the limit of {XCOM_LIMIT_BYTES} for XCom",
                "",
                "Store the data as an artifact and put the artifact into the record.",
            )
        return wire


def parse(value: object) -> Record:
    """Return the record of any wire form (or the record itself).

    Raises:
        NotARecord: if it is none, or of an unknown kind.
        RecordTooNew: if a newer airflow_ml wrote it.
    """
    if isinstance(value, Record):
        return value
    if not isinstance(value, Mapping):
        raise NotARecord("Not a record", repr(value)[:120], "Pass the output of an airflow_ml task.")
    kind = _REGISTRY.get(str(value.get("record"))) or _load(str(value.get("record")))
    if kind is None:
        raise NotARecord(
            "Not a record this airflow_ml knows",
            value.get("record", f"keys {sorted(value)[:8]}"),
            f"Known records are {', '.join(sorted({*_REGISTRY, *' '.join(_HOMES.values()).split()}))}.",
        )
    return kind.from_dict(value)


def _load(name: str) -> type[Record] | None:
    """Return a record whose module nobody has imported here yet."""
    home = next((home for home, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        return None
    importlib.import_module(f"airflow_ml.core.{home}")
    return _REGISTRY.get(name)


def parse_as(kind: type[R], value: object) -> R:
    """Return ``value`` as a record of one kind.

    Raises:
        NotARecord: if it is another kind or no record.
    """
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise NotARecord(
            f"Expected a {kind.__name__}", repr(value)[:120], "Pass the output of the stage that makes it."
        )
    return kind.from_dict(value)


def encode(value: object) -> JSON:
    """Return the JSON form of a field's value."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Record):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: encode(getattr(value, name)) for name in _names(value)}
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    raise TypeError(f"A record field cannot hold {type(value).__qualname__}: {value!r}")


def _identity(value: object) -> JSON:
    """Return the JSON form without incidental fields, at any depth."""
    if isinstance(value, Record):
        kept = [name for name in _names(value) if name not in value.incidental]
        body = {name: _identity(getattr(value, name)) for name in kept}
        return {"record": type(value).__name__, "schema": value.schema, **body}
    if isinstance(value, Mapping):
        return {str(key): _identity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    return encode(value)


def decode(kind: Any, value: Any) -> Any:
    """Read a field's value back by its declared type."""
    read = _reader(kind)
    return value if read is None else read(value)


Reader = Callable[[Any], Any]


@functools.cache
def _reader(kind: Any) -> Reader | None:
    """Return what reads a value of a declared type; None where JSON has the value itself. Types are asked once."""
    origin = typing.get_origin(kind)
    if origin is Union or origin is types.UnionType:
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return _unless_none(_reader(options[0])) if len(options) == 1 else None
    if origin is tuple:
        return _each(_reader(typing.get_args(kind)[0]))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _each_value(_reader(typing.get_args(kind)[1]))
    if kind is datetime:
        return parse_time
    if kind is float:
        return lambda value: float(value) if isinstance(value, int) else value
    if isinstance(kind, type) and issubclass(kind, Record):
        return functools.partial(parse_as, kind)
    if dataclasses.is_dataclass(kind):
        return functools.partial(_decode_dataclass, cast(type, kind))
    return None


def _unless_none(read: Reader | None) -> Reader | None:
    return None if read is None else lambda value: None if value is None else read(value)


def _each(read: Reader | None) -> Reader:
    return tuple if read is None else lambda value: tuple([read(item) for item in value])


def _each_value(read: Reader | None) -> Reader:
    return dict if read is None else lambda value: {key: read(item) for key, item in value.items()}


def _decode_dataclass(kind: type, value: Mapping[str, Any]) -> Any:
    if not isinstance(value, Mapping):
        raise NotARecord(f"Expected the fields of {kind.__name__}", repr(value)[:120], "The record is damaged.")
    fields: dict[str, Any] = {}
    for name, read, required in _readers(kind):
        if name in value:
            given = value[name]
            fields[name] = given if read is None else read(given)
        elif required:
            raise NotARecord(f"{kind.__name__} lacks the field", name, "The record is damaged.")
    return kind(**fields)


@functools.cache
def _readers(kind: type) -> tuple[tuple[str, Reader | None, bool], ...]:
    """Return of each field its name, what reads it, and whether it must be there."""
    hints = typing.get_type_hints(kind)
    return tuple(
        (
            field.name,
            _reader(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
    )


def _names(value: Any) -> tuple[str, ...]:
    return _names_of(value.__class__)


@functools.cache
def _names_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
