"""Artifacts: records that point to bytes in the store by the digest of their content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from airflow_ml.core.record import JSON, Record
from airflow_ml.errors import InvalidKey

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]{0,127}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of tabular data."""

    name: str
    #: The Arrow type as text, for example ``"double"`` or ``"timestamp[us, tz=UTC]"``.
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(Record):
    """Some bytes in the store. Two artifacts with the same digest are the same bytes."""

    incidental: ClassVar[frozenset[str]] = frozenset({"uri"})

    #: ``sha256:<hex>`` of the content; the address in the store and the proof on every read.
    digest: str
    #: What the bytes are: ``parquet``, ``json``, ``jsonl``, ``skops``, ``python`` (a code package), ``svg``,
    #: ``bytes``.
    format: str
    size_bytes: int
    #: Where the store that wrote it keeps it; informative, readers go by the digest. Empty where a record has many.
    uri: str = ""
    rows: int | None = None
    #: Of tabular data, where the record has the room; a Parquet file says them itself.
    columns: tuple[Column, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JSON]:
        """Return the wire form, without an empty ``uri``, ``rows``, ``columns`` and ``metadata``: a record holds many
        artifacts."""
        wire = Record.to_dict(self)
        optional = ("uri", "rows", "columns", "metadata")
        return {name: value for name, value in wire.items() if name not in optional or value not in (None, "", [], {})}


def without_addresses(wire: JSON) -> JSON:
    """Return JSON whose artifacts, at any depth, do not say where they are: readers go by the digest, and a record that
    holds other records stays small."""
    if isinstance(wire, list):
        return [without_addresses(item) for item in wire]
    if isinstance(wire, dict):
        left_out = "uri" if wire.get("record") == Artifact.__name__ else None
        return {name: without_addresses(value) for name, value in wire.items() if name != left_out}
    return wire


def check_digest(digest: str) -> str:
    """Return a well-formed digest.

    Raises:
        InvalidKey: for anything else, so that a digest can be used as a path.
    """
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise InvalidKey("Not a digest", repr(digest)[:120], "A digest is sha256: and 64 hex digits.")
    return digest


def check_ref(name: str) -> str:
    """Return a well-formed ref name: 1 to 8 segments of letters, digits and ``. _ = @ + -``, joined by ``/``.

    Raises:
        InvalidKey: for ``..``, absolute paths, NUL, backslashes, empty or over-long segments and look-alikes.
    """
    parts = name.split("/") if isinstance(name, str) else []
    if not 1 <= len(parts) <= 8 or any(not _NAME.match(part) or part.endswith(".") for part in parts):
        raise InvalidKey(
            "Not a ref name",
            repr(name)[:160],
            "Use 1 to 8 segments of A-Z a-z 0-9 . _ = @ + - that start with a letter or digit, joined by /.",
        )
    return name
