"""The bytes of one entry of a ref, the same in every store: canonical JSON that carries the digest of its own value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from airflow_ml.core.fingerprint import canonical_json, digest_bytes, digest_json
from airflow_ml.core.ports import Entry
from airflow_ml.core.record import JSON
from airflow_ml.errors import ArtifactCorrupt, ConfigurationError, RefConflict

#: Sequences are written with this many digits, so that names sort like numbers.
SEQUENCE_DIGITS = 20
#: An entry is a small JSON object; data belongs into a blob that the entry names.
ENTRY_LIMIT_BYTES = 1024 * 1024
#: Where the digest stands in an entry as `encode_entry` writes it.
_DIGEST_AT = len('{"digest":"')
_DIGEST_END = _DIGEST_AT + len("sha256:") + 64


def encode_entry(ref: str, sequence: int, value: Mapping[str, JSON]) -> bytes:
    """Return the stored form of an entry.

    Raises:
        ConfigurationError: over 1 MiB.
        TypeError, ValueError: for a value that is not JSON.
    """
    text = canonical_json(dict(value))
    data = _head(digest_bytes(text), ref, sequence) + text + b"}"
    if len(data) > ENTRY_LIMIT_BYTES:
        raise ConfigurationError(
            f"An entry of ref {ref!r} has {len(data)} bytes, over the limit of {ENTRY_LIMIT_BYTES}",
            "",
            "Store the data as an artifact and put the artifact into the entry.",
        )
    return data


def decode_entry(ref: str, sequence: int, data: bytes) -> Entry:
    """Read the stored form back.

    Raises:
        ArtifactCorrupt: if it is damaged, or the entry of another ref or sequence.
    """
    value = _verified(ref, sequence, data)
    if not isinstance(value, dict):
        raise ArtifactCorrupt(
            f"Entry {sequence} of ref {ref!r} is damaged", repr(data[:80]), "Restore it from the store's backup."
        )
    return Entry(ref=ref, sequence=sequence, value=value)


def _head(digest: str, ref: str, sequence: int) -> bytes:
    """Return the canonical text of an entry up to its value."""
    return canonical_json({"digest": digest, "ref": ref, "sequence": sequence, "value": 0})[:-2]


def _verified(ref: str, sequence: int, data: bytes) -> object:
    """Return the value of an entry whose digest, ref and sequence are right, else None."""
    try:
        digest = data[_DIGEST_AT:_DIGEST_END].decode("ascii")
        head = _head(digest, ref, sequence)
        if data.startswith(head) and data.endswith(b"}") and digest_bytes(data[len(head) : -1]) == digest:
            return cast(object, json.loads(data[len(head) : -1]))
        body = json.loads(data)  # written by hand, for example by who restored it: not canonical, and perhaps right
        sound = (body["ref"], body["sequence"], body["digest"]) == (ref, sequence, digest_json(body["value"]))
        return body["value"] if sound else None
    except (ValueError, KeyError, TypeError):
        return None


def check_after(after: int) -> int:
    """Return the sequence that follows ``after``.

    Raises:
        ConfigurationError: for a negative number or one that is not an int.
    """
    if isinstance(after, bool) or not isinstance(after, int) or after < 0:
        raise ConfigurationError("Not a sequence", repr(after), "Give the newest entry's sequence, or 0 for none.")
    return after + 1


def conflict(ref: str, sequence: int) -> RefConflict:
    """Return the error of a lost race for an entry."""
    return RefConflict(
        f"Entry {sequence} of ref {ref!r} was written by somebody else", "", "Read the latest entry and decide again."
    )


def gap(ref: str, after: int) -> RefConflict:
    """Return the error of an append after an entry that does not exist; histories have no gaps."""
    return RefConflict(
        f"Ref {ref!r} has no entry {after} to append after", "", "Read the latest entry and append after it."
    )
