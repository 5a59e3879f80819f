"""What the gateway takes and gives, checked: traffic configurations, rows to score in either form, outcomes.

Everything that comes from outside is refused here with a sentence, or is sound from here on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from airflow_ml.core.artifact import Artifact, check_digest
from airflow_ml.core.fingerprint import finite, parse_time
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON, decode, encode, parse_as
from airflow_ml.errors import AirflowMLError, ConfigurationError
from airflow_ml.gateway.batch import Batch, ColumnFeatures, Row

#: Rows in one request; more is a job for batch scoring.
MAX_ROWS = 10_000
#: Further challengers of one model; each is a process.
MAX_CHALLENGERS = 20
#: Characters of a key, a unit and the like.
TEXT_LIMIT = 256
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one key."""

    key: str
    #: None where there will never be an outcome (a cancelled flight).
    label: float | None
    known_at: datetime


def check_model(name: object) -> str:
    """Return a well-formed model name.

    Raises:
        ConfigurationError: for anything else, so that a name can be used as a path.
    """
    if not isinstance(name, str) or not _MODEL.match(name) or name.endswith("."):
        raise ConfigurationError(
            "Not a model name",
            repr(name)[:160],
            "Use 1 to 128 of A-Z a-z 0-9 . _ = @ + - and start with one of A-Z a-z 0-9.",
        )
    return name


def traffic_to_wire(traffic: Traffic) -> dict[str, JSON]:
    """Return the JSON form of a traffic configuration."""
    return cast("dict[str, JSON]", encode(traffic))


def traffic_from_wire(data: object) -> Traffic:
    """Read a traffic configuration.

    Raises:
        ConfigurationError: naming the field that is wrong.
    """
    body = _mapping(data, "traffic")
    epoch, weight, salt = body.get("epoch"), finite(body.get("weight_percent")), body.get("salt")
    if isinstance(epoch, bool) or not isinstance(epoch, int) or not 0 <= epoch < 2**63:
        raise _wrong("epoch", epoch, "It is a whole number from 0 on")
    if weight is None or not 0 <= weight <= 100:
        raise _wrong("weight_percent", body.get("weight_percent"), "It is a number from 0 to 100")
    expires_at = body.get("expires_at")
    return Traffic(
        model=check_model(body.get("model")),
        epoch=epoch,
        champion=_variant(body.get("champion"), "champion"),
        challenger=None if body.get("challenger") is None else _variant(body["challenger"], "challenger"),
        weight_percent=weight,
        expires_at=None if expires_at is None else _time(expires_at, "expires_at"),
        salt=_text(salt, "salt", empty=True),
        others=_others(body.get("others", [])),
        stopped=tuple(_text(arm, "stopped") for arm in _list(body.get("stopped", []), "stopped")),
        shadow=_flag(body.get("shadow", False), "shadow"),
    )


def models_of(variant: Mapping[str, JSON]) -> Artifact:
    """Return the artifact of a variant's models."""
    return parse_as(Artifact, variant["models"])


def rows_from_wire(data: object) -> list[Row]:
    """Read ``{"rows": [{"key", "unit", "at", "features": {view digest: {feature: value}}}]}``.

    Raises:
        ConfigurationError: naming the row and the field.
    """
    return [_row(item, number) for number, item in enumerate(_rows(data))]


def columns_from_wire(data: object) -> Batch:
    """Read ``{"keys": [], "units": [], "at": [], "features": {view digest: {feature: []}}}``, lists of one length.

    Raises:
        ConfigurationError: naming the list and the place in it.
    """
    body = _mapping(data, "the body")
    keys = [_text(key, f"keys[{n}]") for n, key in enumerate(_column(body.get("keys"), "keys", None))]
    units = [_text(unit, f"units[{n}]") for n, unit in enumerate(_column(body.get("units"), "units", len(keys)))]
    at = [_time(moment, f"at[{n}]") for n, moment in enumerate(_column(body.get("at"), "at", len(keys)))]
    features = _mapping(body.get("features"), "features")
    for digest, columns in features.items():
        where = f"features[{digest[:80]!r}]"
        for name, values in _mapping(columns, where).items():
            for n, value in enumerate(_column(values, f"{where}.{name[:80]}", len(keys))):
                _feature(value, f"{where}.{name[:80]}[{n}]")
    return Batch(keys, units, at, ColumnFeatures(len(keys), features), columnar=True)


def batch_from_wire(data: object) -> Batch:
    """Read rows or columns, as ``rows_from_wire`` and ``columns_from_wire`` do.

    Raises:
        ConfigurationError: naming what is wrong.
    """
    body = _mapping(data, "the body")
    if "keys" not in body:
        return Batch.of(rows_from_wire(body))
    if "rows" in body:
        raise ConfigurationError("The body has rows and columns", "rows, keys", "Send one of them.")
    return columns_from_wire(body)


def outcomes_from_wire(data: object) -> tuple[datetime, list[Outcome]]:
    """Read ``{"watermark_at": time, "rows": [{"key", "label", "known_at"}]}``; a watermark may come without rows.

    Raises:
        ConfigurationError: naming the row and the field.
    """
    watermark_at = _time(_mapping(data, "outcomes").get("watermark_at"), "watermark_at")
    return watermark_at, [_outcome(item, number) for number, item in enumerate(_rows(data))]


def decode_traffic(data: Mapping[str, Any]) -> Traffic:
    """Read what ``traffic_to_wire`` wrote, from a place that is trusted."""
    return cast(Traffic, decode(Traffic, data))


def _rows(data: object) -> list[Any]:
    rows = _mapping(data, "the body").get("rows")
    if not isinstance(rows, list):
        raise _wrong("rows", rows, "It is a list")
    if len(rows) > MAX_ROWS:
        raise ConfigurationError("Too many rows", len(rows), f"Send at most {MAX_ROWS} in one request.")
    return rows


def _column(value: object, name: str, length: int | None) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, value, "It is a list")
    if len(value) > MAX_ROWS:
        raise ConfigurationError("Too many rows", len(value), f"Send at most {MAX_ROWS} in one request.")
    if length is not None and len(value) != length:
        raise ConfigurationError(f"{name} is of another length than keys", len(value), f"Send {length}, one a row.")
    return value


def _feature(value: object, name: str) -> None:
    if isinstance(value, list | dict):
        raise _wrong(name, value, "A feature is a number, a boolean, text or null")


def _row(item: object, number: int) -> Row:
    where = f"rows[{number}]"
    body = _mapping(item, where)
    features = _mapping(body.get("features"), f"{where}.features")
    for digest, values in features.items():
        for name, value in _mapping(values, f"{where}.features[{digest[:80]!r}]").items():
            _feature(value, f"{where}.features.{name[:80]}")
    return Row(
        key=_text(body.get("key"), f"{where}.key"),
        unit=_text(body.get("unit"), f"{where}.unit"),
        at=_time(body.get("at"), f"{where}.at"),
        features=features,
    )


def _outcome(item: object, number: int) -> Outcome:
    where = f"rows[{number}]"
    body = _mapping(item, where)
    label = body.get("label")
    if "label" not in body or (label is not None and not isinstance(label, bool) and finite(label) is None):
        raise _wrong(f"{where}.label", label, "It is a number, a boolean, or null for no outcome ever")
    return Outcome(
        key=_text(body.get("key"), f"{where}.key"),
        label=None if label is None else float(label),
        known_at=_time(body.get("known_at"), f"{where}.known_at"),
    )


def _variant(value: object, name: str) -> Mapping[str, JSON]:
    body = _mapping(value, name)
    _text(body.get("version"), f"{name}.version")
    _text(body.get("view_digest"), f"{name}.view_digest")
    try:
        check_digest(parse_as(Artifact, body.get("models")).digest)
    except AirflowMLError as error:
        raise _wrong(
            f"{name}.models", body.get("models"), f"It is the artifact of a model manifest ({error})"
        ) from error
    return body


def _others(value: object) -> tuple[Mapping[str, JSON], ...]:
    return tuple(_variant(item, f"others[{number}]") for number, item in enumerate(_list(value, "others")))


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_CHALLENGERS:
        raise _wrong(name, value, f"It is a list of at most {MAX_CHALLENGERS}")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "It is true or false")
    return value


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "It is a JSON object")
    return value


def _text(value: object, name: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > TEXT_LIMIT or not (value or empty) or "\x00" in value:
        raise _wrong(name, value, f"It is text of 1 to {TEXT_LIMIT} characters")
    return value


def _time(value: object, name: str) -> datetime:
    try:
        return parse_time(value if isinstance(value, str) else "")
    except (ValueError, OverflowError) as error:
        raise _wrong(name, value, "It is an ISO 8601 time with a zone, for example 2013-05-01T10:00:00Z") from error


def _wrong(name: str, value: object, rule: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is wrong", ascii(value)[:120], f"{rule}.")
