"""Check an artifact store: every entry can be read, every blob that is named is there, every blob is what it says.

Reading all bytes of a large store takes hours, so the blobs are checked slice by slice, the one that waited longest
first; what was checked when is kept in the store itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.store_keeping import StoreKeeper, digests_in
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, RefConflict

#: Where the time of each slice's last check is kept.
CHECK_REF = "maintenance/fsck"
#: A slice is the blobs whose digests begin with the same two hex digits.
SLICES = tuple(f"{number:02x}" for number in range(256))
#: Refs that a finding names.
_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong."""

    #: ``corrupt`` (the bytes are not what the digest says, or an entry is damaged), ``missing`` (named and not there)
    #: or ``gap`` (a history lacks an entry).
    kind: str
    #: A digest, or a ref and its entry.
    what: str
    #: Refs that are harmed, at most ten.
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a check saw."""

    refs: int
    entries: int
    slices: int
    blobs: int
    size_bytes: int
    findings: tuple[Finding, ...]
    #: When the slice that waits longest now was checked; None where one never was.
    oldest_check_at: str | None


def check_store(
    store: StoreKeeper,
    *,
    now: Callable[[], datetime],
    slices: int = len(SLICES),
    until: datetime | None = None,
) -> Check:
    """Check all refs, and some or all blobs.

    Args:
        store: The store. A blob that is found corrupt is set aside, as by any read.
        now: The clock, aware.
        slices: How many of the 256 slices of blobs to read; those that waited longest. Default all.
        until: Begin no further slice after this time; None (default) for no such limit.
    """
    names, findings, refs, entries = _read_refs(store)
    checked = _checked(store)
    present: set[str] = set()
    blobs = size_bytes = done = 0
    for name in sorted(SLICES, key=lambda name: (checked.get(name, ""), name))[:slices]:
        if until is not None and done and now() >= until:
            break
        for blob in store.list_blobs(name):
            blobs += 1
            size_bytes += blob.size_bytes
            if _is_sound(store, blob.digest):
                present.add(blob.digest)
            else:
                findings.append(Finding(kind="corrupt", what=blob.digest, refs=names.get(blob.digest, ())))
        checked[name] = format_time(now())
        done += 1
    known = {finding.what for finding in findings}
    for digest in sorted(set(names) - present - known):
        if not is_there(store, digest):
            findings.append(Finding(kind="missing", what=digest, refs=names[digest]))
    _keep(store, checked)
    return Check(
        refs=refs,
        entries=entries,
        slices=done,
        blobs=blobs,
        size_bytes=size_bytes,
        findings=tuple(findings),
        oldest_check_at=min(checked.get(name, "") for name in SLICES) or None,
    )


def _read_refs(store: ArtifactStore) -> tuple[dict[str, tuple[str, ...]], list[Finding], int, int]:
    """Return which refs name each artifact, what is wrong with the refs, and the numbers of refs and entries."""
    names: dict[str, tuple[str, ...]] = {}
    findings: list[Finding] = []
    refs = entries = 0
    for ref in store.refs():
        refs += 1
        found = _readable(store, ref, findings)
        entries += len(found)
        for value in found.values():
            for digest, format in digests_in(value):
                # A digest that stands alone may be one of code or of a record, which is no blob.
                if format and len(names.get(digest, ())) < _NAMED and ref not in names.get(digest, ()):
                    names[digest] = (*names.get(digest, ()), ref)
    return names, findings, refs, entries


def _readable(store: ArtifactStore, ref: str, findings: list[Finding]) -> dict[int, Mapping[str, JSON]]:
    """Return the entries of a ref by sequence, from both ends up to a damaged one."""
    found: dict[int, Mapping[str, JSON]] = {}
    damage = ""
    for newest_first in (False, True):
        try:
            for entry in store.history(ref, newest_first=newest_first):
                found[entry.sequence] = entry.value
        except ArtifactCorrupt as error:
            damage = str(error)
        else:
            break
    if damage:
        findings.append(Finding(kind="corrupt", what=damage, refs=(ref,)))
    elif found and sorted(found) != list(range(1, len(found) + 1)):
        lacking = sorted(set(range(1, max(found) + 1)) - set(found))
        findings.append(Finding(kind="gap", what=f"{ref} lacks {lacking[:5]} of {max(found)}", refs=(ref,)))
    return found


def _is_sound(store: StoreKeeper, digest: str) -> bool:
    try:
        store.verify(digest)
    except ArtifactCorrupt:
        return False
    except ArtifactNotFound:
        return True  # put into the trash since it was listed
    return True


def is_there(store: StoreKeeper, digest: str) -> bool:
    """Tell whether the store has a blob, in the trash as well; its bytes are not read."""
    return any(True for _ in store.list_blobs(digest.partition(":")[2])) or store.restore(digest)


def _checked(store: ArtifactStore) -> dict[str, str]:
    newest = store.latest(CHECK_REF)
    kept = newest.value.get("checked_at") if newest is not None else None
    return {name: str(at) for name, at in kept.items() if name in SLICES} if isinstance(kept, dict) else {}


def _keep(store: ArtifactStore, checked: Mapping[str, str]) -> None:
    newest = store.latest(CHECK_REF)
    # Two checks at once: the other's times stand, and what this one read is read again some day.
    with contextlib.suppress(RefConflict):
        store.append(CHECK_REF, {"checked_at": dict(checked)}, after=newest.sequence if newest else 0)
