"""Maintenance of a store on S3: its blobs, and a trash from which a read or a put restores them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from airflow_ml.adapters.s3_objects import Objects
from airflow_ml.core.artifact import check_digest
from airflow_ml.core.failpoint import fp
from airflow_ml.core.fingerprint import ALGORITHM
from airflow_ml.core.store_keeping import Blob

#: A blob that is asked for again is marked as young by copying it onto itself, at most once in this time.
REFRESH_AFTER = timedelta(hours=12)


class S3Trash:
    """What `S3Store` adds to be a `core.store_keeping.StoreKeeper`.

    S3 has no rename: a blob is copied, then removed. A put of the same content that falls between finds it again in the
    trash when it is read.
    """

    _prefix: str
    _objects: Objects

    def list_blobs(self, prefix: str = "") -> Iterator[Blob]:
        """Yield the blobs whose hex digits begin so, in no particular order."""
        base = f"{self._prefix}blobs/{ALGORITHM}/"
        start = f"{base}{prefix[:2]}/{prefix[2:]}" if len(prefix) >= 2 else f"{base}{prefix}"
        yield from self._listed(start, base)

    def list_trash(self) -> Iterator[Blob]:
        """Yield what lies in the trash; ``changed_at`` is when it was put there."""
        base = f"{self._prefix}trash/"
        yield from self._listed(base, base)

    def trash(self, digest: str, *, unchanged_since: datetime) -> bool:
        """Put a blob into the trash, unless it was written or asked for again since; tell whether it is there now."""
        key, place = self._blob_key(digest), self._trash_key(digest)
        if not self._is_as_old(key, unchanged_since):
            return self._objects.changed_at(place) is not None
        self._objects.copy(key, place)
        fp("store.trash.copied")
        if not self._is_as_old(key, unchanged_since):
            self.destroy(digest)
            return False
        self._objects.remove(key)
        fp("store.trash.moved")
        return True

    def restore(self, digest: str) -> bool:
        """Bring a blob back from the trash; False where it is not there."""
        key, place = self._blob_key(digest), self._trash_key(digest)
        if self._objects.changed_at(key) is None and not self._objects.copy(place, key):
            return False
        fp("store.restore.copied")
        self.destroy(digest)
        return True

    def destroy(self, digest: str) -> None:
        """Remove a blob from the trash for good; nothing happens where it is not there."""
        self._objects.remove(self._trash_key(digest))

    def _keep(self, digest: str) -> bool:
        """Keep a blob from the trash a while longer; False where it is not there any more."""
        key = self._blob_key(digest)
        changed = self._objects.changed_at(key)
        if changed is not None and datetime.now(UTC) - changed > REFRESH_AFTER:
            return self._objects.copy(key, key)
        return changed is not None

    def _is_as_old(self, key: str, instant: datetime) -> bool:
        changed = self._objects.changed_at(key)
        return changed is not None and changed <= instant

    def _listed(self, start: str, base: str) -> Iterator[Blob]:
        for item in self._objects.listed(start):
            digest = item["Key"].removeprefix(base).replace("/", "")
            if len(digest) == 64:
                yield Blob(digest=f"{ALGORITHM}:{digest}", size_bytes=item["Size"], changed_at=item["LastModified"])

    def _blob_key(self, digest: str) -> str:
        name = check_digest(digest).removeprefix(f"{ALGORITHM}:")
        return f"{self._prefix}blobs/{ALGORITHM}/{name[:2]}/{name[2:]}"

    def _trash_key(self, digest: str) -> str:
        return f"{self._prefix}trash/{check_digest(digest).removeprefix(f'{ALGORITHM}:')}"
