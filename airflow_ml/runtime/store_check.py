"""Check an artifact store: every entry can be read, every blob that is named is there, every blob is what it says.

Reading all bytes of a large store takes hours, so the blobs are checked slice by slice, the one that waited longest
first; what was checked when is kept in the store itself.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.store_keeping import StoreKeeper, digests_in
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, RefConflict
from airflow_ml.runtime.directory import FORMAT as FOLDER
from airflow_ml.runtime.directory import files_of

#: Where the time of each slice's last check is kept.
CHECK_REF = "maintenance/fsck"
#: A slice is the blobs whose digests begin with the same two hex digits.
SLICES = tuple(f"{number:02x}" for number in range(256))
#: Refs that a finding names.
_NAMED = 10
#: Of so many blobs of a slice, each is asked for by itself; of more, the slice is listed once.
_ASKED_ONE_BY_ONE = 4


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
    corrupt: list[str] = []
    blobs = size_bytes = done = 0
    for name in sorted(SLICES, key=lambda name: (checked.get(name, ""), name))[:slices]:
        if until is not None and done and now() >= until:
            break
        for blob in store.list_blobs(name):
            blobs += 1
            size_bytes += blob.size_bytes
            if _is_sound(store, blob.digest):
                present.add(blob.digest)
                _look_inside(store, blob.digest, names)
            else:
                corrupt.append(blob.digest)
        checked[name] = format_time(now())
        done += 1
    findings += [Finding(kind="corrupt", what=one, refs=names[one].refs if one in names else ()) for one in corrupt]
    absent = absent_of(store, set(names) - present - set(corrupt))
    findings += [Finding(kind="missing", what=one, refs=names[one].refs) for one in sorted(absent)]
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


@dataclass(frozen=True, slots=True)
class _Named:
    """What is known of an artifact that something names: its format, and the refs that lead to it."""

    format: str
    refs: tuple[str, ...]


def _name(names: dict[str, _Named], digest: str, format: str, refs: Iterable[str]) -> None:
    before = names.get(digest, _Named(format, ()))
    names[digest] = _Named(before.format, tuple(dict.fromkeys((*before.refs, *refs)))[:_NAMED])


def _look_inside(store: ArtifactStore, digest: str, names: dict[str, _Named]) -> None:
    """Add what a folder, or a JSON text, names in turn; that of a blob that cannot be read is not known."""
    named = names.get(digest)
    if named is None or named.format not in (FOLDER, "json"):
        return
    try:
        content = store.get_bytes(Artifact(digest=digest, format=named.format, size_bytes=0, uri=""))
        if named.format == FOLDER:
            inner = [(file.digest, file.format) for file in files_of(content)]
        else:
            inner = [(one, format) for one, format in digests_in(json.loads(content)) if format]
    except (ArtifactNotFound, ArtifactCorrupt, ValueError, KeyError, TypeError):
        return
    for one, format in inner:
        is_new = one not in names
        _name(names, one, format, named.refs)
        if is_new:
            _look_inside(store, one, names)


def _read_refs(store: ArtifactStore) -> tuple[dict[str, _Named], list[Finding], int, int]:
    """Return which refs name each artifact, what is wrong with the refs, and the numbers of refs and entries."""
    names: dict[str, _Named] = {}
    findings: list[Finding] = []
    refs = entries = 0
    for ref in store.refs():
        refs += 1
        found = _readable(store, ref, findings)
        entries += len(found)
        for value in found.values():
            for digest, format in digests_in(value):
                # A digest that stands alone may be one of code or of a record, which is not a blob.
                if format:
                    _name(names, digest, format, (ref,))
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


def absent_of(store: StoreKeeper, digests: Collection[str]) -> set[str]:
    """Return those of the digests that the store does not have, not in the trash either; no bytes are read."""
    slices: dict[str, list[str]] = {}
    for digest in digests:
        slices.setdefault(digest.partition(":")[2][:2], []).append(digest)
    absent: set[str] = set()
    for name, some in slices.items():
        if len(some) > _ASKED_ONE_BY_ONE:
            there = {blob.digest for blob in store.list_blobs(name)}
            absent.update(one for one in some if one not in there and not store.restore(one))
        else:
            absent.update(one for one in some if not is_there(store, one))
    return absent


def _checked(store: ArtifactStore) -> dict[str, str]:
    newest = store.latest(CHECK_REF)
    kept = newest.value.get("checked_at") if newest is not None else None
    return {name: str(at) for name, at in kept.items() if name in SLICES} if isinstance(kept, dict) else {}


def _keep(store: ArtifactStore, checked: Mapping[str, str]) -> None:
    newest = store.latest(CHECK_REF)
    # Two checks at once: the other's times stand, and what this one read is read again some day.
    with contextlib.suppress(RefConflict):
        store.append(CHECK_REF, {"checked_at": dict(checked)}, after=newest.sequence if newest else 0)
