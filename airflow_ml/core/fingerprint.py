"""Identity of content: canonical JSON and SHA-256.

An identity never contains a time, a try number or a host, so a retry computes the same one and a changed input a
different one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime

#: Prefix of every digest, so that a stored digest names its algorithm.
ALGORITHM = "sha256"


def canonical_json(value: object) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
        TypeError: for anything that is not JSON.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_refuse
    ).encode("utf-8")


def digest_bytes(data: bytes) -> str:
    """Return ``sha256:<64 hex digits>`` of some bytes."""
    return f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}"


def digest_json(value: object) -> str:
    """Return the digest of a JSON value's canonical text."""
    return digest_bytes(canonical_json(value))


def identity(kind: str, *parts: str) -> str:
    """Return the digest of parts joined by NUL, so that ("a", "bc") and ("ab", "c") differ.

    Args:
        kind: What is identified, for example ``"trial"``; two kinds never share an identity.
        parts: Strings without NUL, in a fixed order.

    Raises:
        ValueError: if a part contains NUL.
    """
    if any("\x00" in part for part in (kind, *parts)):
        raise ValueError(f"An identity part contains NUL: {(kind, *parts)!r}")
    return digest_bytes("\x00".join((kind, *parts)).encode("utf-8"))


def unit_interval(*parts: str) -> float:
    """Map strings to a uniform number in [0, 1): the same strings always give the same number.

    The first 53 bits of SHA-256, so every value is an exact float.
    """
    raw = hashlib.sha256("\x00".join(parts).encode("utf-8")).digest()
    return (int.from_bytes(raw[:8], "big") >> 11) / 2**53


def seed_of(*parts: str) -> int:
    """Map strings to a seed in [0, 2**32), the range that numpy and scikit-learn accept."""
    raw = hashlib.sha256("\x00".join(parts).encode("utf-8")).digest()
    return int.from_bytes(raw[:4], "big")


def format_time(value: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with a trailing ``Z``.

    Raises:
        ValueError: for a naive time; guessing its zone is how off-by-hours errors are made.
    """
    if value.tzinfo is None:
        raise ValueError(f"A time without a zone: {value!r}. Give an aware datetime, for example with timezone.utc.")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time with a zone and return it in UTC.

    Raises:
        ValueError: if the text is not a time or has no zone.
    """
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError(f"A time without a zone: {text!r}. End it with Z or an offset.")
    return value.astimezone(UTC)


def finite(value: object) -> float | None:
    """Return a number as float, or None where it is not a finite number (NaN, infinity, text, bool, None)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _refuse(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"Not JSON: {type(value).__qualname__} {value!r}")
