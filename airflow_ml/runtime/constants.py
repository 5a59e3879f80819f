"""Constants that travel with a captured function: JSON values, tuples and sets, tagged so that they come back alike."""

from __future__ import annotations

import math
from typing import Any

from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.record import JSON

_TUPLE, _SET, _FROZENSET, _PLAIN = "tuple", "set", "frozenset", "dict"
#: A constant above this size is data, and data travels as an artifact.
LIMIT_BYTES = 64 * 1024


def encode_constant(value: object) -> JSON:
    """Return the tagged JSON of a constant.

    Raises:
        TypeError: the value, or something in it, is not a constant; the message says what and where.
        ValueError: a number is not finite, or the whole is over 64 KiB.
    """
    encoded = _encode(value, "")
    size = len(canonical_json(encoded))
    if size > LIMIT_BYTES:
        raise ValueError(f"it has {size} bytes, over the limit of {LIMIT_BYTES} for a constant")
    return encoded


def decode_constant(value: Any) -> Any:
    """Return the constant that `encode_constant` was given."""
    if isinstance(value, list):
        return [decode_constant(item) for item in value]
    if isinstance(value, dict):
        ((tag, items),) = value.items()
        if tag == _PLAIN:
            return {key: decode_constant(item) for key, item in items.items()}
        return {_TUPLE: tuple, _SET: set, _FROZENSET: frozenset}[tag](decode_constant(item) for item in items)
    return value


def _encode(value: object, where: str) -> JSON:
    if value is None or type(value) in (bool, int, str):
        return value  # type: ignore[return-value]  # narrowed by the exact type
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"it holds {value}{where}, which JSON does not have")
        return value
    if type(value) is list:
        return [_encode(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if type(value) is tuple:
        return {_TUPLE: [_encode(item, f"{where}[{index}]") for index, item in enumerate(value)]}
    if type(value) in (set, frozenset):
        items = [_encode(item, f"{where}{{...}}") for item in value]  # type: ignore[attr-defined]  # a set iterates
        return {type(value).__name__: sorted(items, key=canonical_json)}
    if type(value) is dict and all(type(key) is str for key in value):
        return {_PLAIN: {key: _encode(item, f"{where}[{key!r}]") for key, item in value.items()}}
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}{f' at {where}' if where else ''}")
