"""Rows to score from the bytes of a request, checked in one pass of compiled code where they are as usual.

The rules are those of ``wire.rows_from_wire``. Whatever the fast way does not take goes that way, which refuses it with
a sentence or takes it after all; so there is one place that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from airflow_ml.gateway.wire import MAX_ROWS, TEXT_LIMIT, Row, rows_from_wire

_Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT)]


class _Row(Struct):
    key: _Text
    unit: _Text
    at: Annotated[datetime, Meta(tz=True)]
    features: dict[str, dict[str, bool | int | float | str | None]]


class _Rows(Struct):
    rows: Annotated[list[_Row], Meta(max_length=MAX_ROWS)]


_decoder = msgspec.json.Decoder(_Rows)


def rows_from_json(data: bytes | bytearray, parse: Callable[[bytes | bytearray], Any]) -> list[Row]:
    """Read ``{"rows": [{"key", "unit", "at", "features": {view digest: {feature: value}}}]}``.

    Args:
        data: The body.
        parse: Reads JSON strictly, for the slow way.

    Raises:
        ConfigurationError: naming the row and the field.
    """
    # Escapes can hide what text must not hold: a NUL, half a character.
    if b"\\u" not in data:
        try:
            found = _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            return [Row(row.key, row.unit, row.at, row.features) for row in found.rows]
    return rows_from_wire(parse(data))
