"""Rows to score from the bytes of a request, checked in one pass of compiled code where they are as usual.

The rules are those of ``wire.batch_from_wire``. Whatever the fast way does not take goes that way, which refuses it
with a sentence or takes it after all; so there is one place that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from airflow_ml.gateway.batch import Batch, ColumnFeatures, RowFeatures
from airflow_ml.gateway.wire import MAX_ROWS, TEXT_LIMIT, batch_from_wire

_Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT)]
_Time = Annotated[datetime, Meta(tz=True)]
_Value = bool | int | float | str | None
_Many = Meta(max_length=MAX_ROWS)


class _Row(Struct):
    key: _Text
    unit: _Text
    at: _Time
    features: dict[str, dict[str, _Value]]


class _Body(Struct):
    rows: Annotated[list[_Row], _Many] | UnsetType = UNSET
    keys: Annotated[list[_Text], _Many] | UnsetType = UNSET
    units: Annotated[list[_Text], _Many] | UnsetType = UNSET
    at: Annotated[list[_Time], _Many] | UnsetType = UNSET
    features: dict[str, dict[str, Annotated[list[_Value], _Many]]] | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Body)


def batch_from_json(data: bytes | bytearray, parse: Callable[[bytes | bytearray], Any]) -> Batch:
    """Read ``{"rows": [{"key", "unit", "at", "features"}]}`` or ``{"keys": [], "units": [], "at": [], "features"}``.

    Args:
        data: The body.
        parse: Reads JSON strictly, for the slow way.

    Raises:
        ConfigurationError: naming the row or the column, and the field.
    """
    # Escapes can hide what text must not hold: a NUL, half a character.
    if b"\\u" not in data:
        try:
            batch = _batch(_decoder.decode(data))
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            if batch is not None:
                return batch
    return batch_from_wire(parse(data))


def _batch(body: _Body) -> Batch | None:
    """Return the batch of a body, or None where it is not as usual."""
    rows = body.rows
    if rows is not UNSET:
        moments = [row.at for row in rows]
        if body.keys is not UNSET or not _is_utc(moments):
            return None
        return Batch(
            [row.key for row in rows],
            [row.unit for row in rows],
            moments,
            RowFeatures([row.features for row in rows]),
        )
    keys, units, at, features = body.keys, body.units, body.at, body.features
    if keys is UNSET or units is UNSET or at is UNSET or features is UNSET or not _is_utc(at):
        return None
    count = len(keys)
    lengths = {count, len(units), len(at)}
    for columns in features.values():
        lengths.update(map(len, columns.values()))
    return Batch(keys, units, at, ColumnFeatures(count, features), columnar=True) if len(lengths) == 1 else None


def _is_utc(moments: Sequence[datetime]) -> bool:
    """Tell whether no time needs to be moved to UTC, which fails for some of the years 1 and 9999."""
    return all(moment.tzinfo is UTC for moment in moments)
