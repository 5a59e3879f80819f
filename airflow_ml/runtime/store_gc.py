"""Collect garbage in an artifact store: blobs that no ref names, neither itself nor through another blob.

Nothing is removed at once. A blob that nobody reaches and nobody asked for during the grace period goes to the trash;
from there a read or a put brings it back, and so does the next collection if a ref names it by then. After another
grace period in the trash it is gone. So a writer that put its blobs and has not yet written the entry that names them
has at least that long, and a mistake of this code, or of a third party's record, that long to be noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.failpoint import fp
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.store_keeping import LEAF_FORMATS, Blob, StoreKeeper, digests_in, digests_in_bytes
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, ConfigurationError
from airflow_ml.runtime.directory import FORMAT as FOLDER

#: No task runs for a week between putting a blob and naming it.
GRACE = timedelta(days=7)
#: A shorter grace would take what running tasks have put and not yet named.
LEAST_GRACE = timedelta(hours=1)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """What the refs of a store name."""

    digests: frozenset[str]
    #: Digests that are named and not in the store, and the name of a ref that leads to each.
    missing: Mapping[str, str]
    #: Those of them that are a folder's list of files, so that it is not known which files it names.
    lost_folders: frozenset[str]
    refs: int
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What a collection did, or with ``dry_run`` would do."""

    dry_run: bool
    blobs: int
    size_bytes: int
    reachable: int
    #: Put into the trash, brought back from it, and gone for good.
    trashed: tuple[Blob, ...]
    restored: tuple[Blob, ...]
    destroyed: tuple[Blob, ...]
    #: Not reachable, but too young to judge.
    young: int


def reachable(store: ArtifactStore) -> Reachable:
    """Follow all entries of all refs, and the texts among the blobs that they name.

    Blobs of a known leaf format (Parquet, arrays, models, pictures) are not read; any other is, since a third party's
    text may name more. All entries of a history count, not only the newest.

    Raises:
        ArtifactCorrupt: an entry is damaged; what it named is not known, so nothing may be removed.
    """
    found: dict[str, str] = {}
    to_read: dict[str, str] = {}
    folders: set[str] = set()
    missing: dict[str, str] = {}
    refs = entries = 0
    for ref in store.refs():
        refs += 1
        for entry in store.history(ref):
            entries += 1
            for digest, format in digests_in(entry.value):
                if digest not in found and format not in LEAF_FORMATS:
                    to_read[digest] = ref
                if format == FOLDER:
                    folders.add(digest)
                found.setdefault(digest, ref)
    while to_read:
        digest, ref = to_read.popitem()
        try:
            named = list(digests_in_bytes(_chunks(store, digest)))
        except (ArtifactNotFound, ArtifactCorrupt):
            missing[digest] = ref
            continue
        for other in named:
            if other not in found:
                found[other] = to_read[other] = ref
    return Reachable(
        digests=frozenset(found),
        missing=missing,
        lost_folders=frozenset(folders & missing.keys()),
        refs=refs,
        entries=entries,
    )


def collect_garbage(
    store: StoreKeeper,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    dry_run: bool = True,
    accept_lost: bool = False,
) -> Collection:
    """Trash what nobody reaches, bring back what somebody does, and empty the trash of what lay there long enough.

    Args:
        store: The store.
        now: The time, aware.
        grace: Nothing younger is trashed, nothing leaves the trash earlier. Default 7 days; at least an hour.
        dry_run: Only say what would be done. Default True.
        accept_lost: Let the files of a folder go whose list of files is lost. Default False: the list may be brought
            back from a copy of the store, and then its files are needed.

    Raises:
        ConfigurationError: the grace period is too short.
        ArtifactCorrupt: an entry is damaged, or a folder's list of files is, or is gone; nothing was removed.
    """
    if grace < LEAST_GRACE:
        raise ConfigurationError(
            "The grace period is too short", str(grace), f"Running tasks need theirs: at least {LEAST_GRACE}."
        )
    before = now - grace
    kept = _kept(store, accept_lost)
    lying = list(store.list_trash())
    restored = [blob for blob in lying if blob.digest in kept and (dry_run or store.restore(blob.digest))]
    blobs = size_bytes = young = 0
    trashed: list[Blob] = []
    for blob in store.list_blobs():
        blobs += 1
        size_bytes += blob.size_bytes
        if blob.digest in kept:
            continue
        if blob.changed_at > before or not (dry_run or store.trash(blob.digest, unchanged_since=before)):
            young += 1
        else:
            trashed.append(blob)
    fp("gc.trashed")
    if not dry_run and (trashed or lying):
        # An entry that was written meanwhile may name an old blob without having put it again.
        kept = _kept(store, accept_lost)
        back = {blob.digest for blob in trashed if blob.digest in kept and store.restore(blob.digest)}
        trashed = [blob for blob in trashed if blob.digest not in back]
    destroyed = [blob for blob in lying if blob.digest not in kept and blob.changed_at <= before]
    for blob in () if dry_run else destroyed:
        store.destroy(blob.digest)
        fp("gc.destroyed")
    return Collection(
        dry_run=dry_run,
        blobs=blobs,
        size_bytes=size_bytes,
        reachable=len(kept),
        trashed=tuple(trashed),
        restored=tuple(restored),
        destroyed=tuple(destroyed),
        young=young,
    )


def _kept(store: ArtifactStore, accept_lost: bool) -> frozenset[str]:
    found = reachable(store)
    if found.lost_folders and not accept_lost:
        lost = min(found.lost_folders)
        raise ArtifactCorrupt(
            "A folder's list of files cannot be read, so it is not known which files it names",
            f"{lost}, which {found.missing[lost]} leads to ({len(found.lost_folders)} such folders)",
            "Bring the blob back from a copy of the store. If there is none, accept it: airflow-ml gc --accept-lost.",
        )
    return found.digests


def _chunks(store: ArtifactStore, digest: str) -> Iterator[bytes]:
    path = store.path(Artifact(digest=digest, format="", size_bytes=0, uri=""))
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            yield chunk
