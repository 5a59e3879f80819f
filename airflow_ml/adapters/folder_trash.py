"""Maintenance of a store in a folder: its blobs, and a trash from which a read or a put restores them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from airflow_ml.core.artifact import check_digest
from airflow_ml.core.failpoint import fp
from airflow_ml.core.fingerprint import ALGORITHM
from airflow_ml.core.store_keeping import Blob


class FolderTrash:
    """What `FolderStore` adds to be a `core.store_keeping.StoreKeeper`.

    The time of a blob is the later of its two: that of its bytes, and that of its last access, which a put of content
    that is there already sets. So nothing is trashed between such a put and the entry that names the blob.
    """

    _root: Path

    def list_blobs(self, prefix: str = "") -> Iterator[Blob]:
        """Yield the blobs whose hex digits begin so, in no particular order."""
        base = self._root / "blobs" / ALGORITHM
        with contextlib.suppress(FileNotFoundError):
            for folder in sorted(base.iterdir()):
                if folder.name.startswith(prefix[:2]) and len(folder.name) == 2:
                    yield from _listed(folder, folder.name, prefix)

    def list_trash(self) -> Iterator[Blob]:
        """Yield what lies in the trash; ``changed_at`` is when it was put there."""
        with contextlib.suppress(FileNotFoundError):
            yield from _listed(self._root / "trash", "", "")

    def trash(self, digest: str, *, unchanged_since: datetime) -> bool:
        """Put a blob into the trash, unless it was written or asked for again since; tell whether it is there now."""
        blob, place = self._blob(digest), self._trashed(digest)
        if _time_of(blob) is None or _is_younger(blob, unchanged_since):
            return place.exists()
        place.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(blob, place)
            fp("store.trash.moved")
        if _is_younger(place, unchanged_since):  # somebody put the same content between the two
            self.restore(digest)
            return False
        with contextlib.suppress(FileNotFoundError):
            touch(place)
        return place.exists()

    def restore(self, digest: str) -> bool:
        """Bring a blob back from the trash; False where it is not there."""
        blob, place = self._blob(digest), self._trashed(digest)
        try:
            blob.parent.mkdir(parents=True, exist_ok=True)
            touch(place)
            with contextlib.suppress(FileExistsError):
                os.link(place, blob)
            fp("store.restore.linked")
            place.unlink(missing_ok=True)
        except FileNotFoundError:
            return blob.exists()
        return True

    def destroy(self, digest: str) -> None:
        """Remove a blob from the trash for good; nothing happens where it is not there."""
        self._trashed(digest).unlink(missing_ok=True)

    def _blob(self, digest: str) -> Path:
        name = check_digest(digest).removeprefix(f"{ALGORITHM}:")
        return self._root / "blobs" / ALGORITHM / name[:2] / name[2:]

    def _trashed(self, digest: str) -> Path:
        return self._root / "trash" / check_digest(digest).removeprefix(f"{ALGORITHM}:")


def touch(blob: Path) -> None:
    """Say that somebody wants this blob now; the time of its bytes stays.

    Raises:
        FileNotFoundError: it is not there any more.
    """
    status = blob.stat()
    with contextlib.suppress(PermissionError):  # another user's file: should it be trashed, a read brings it back
        os.utime(blob, ns=(time.time_ns(), status.st_mtime_ns))


def _listed(folder: Path, head: str, prefix: str) -> Iterator[Blob]:
    for entry in os.scandir(folder):
        digest = head + entry.name
        if len(digest) == 64 and digest.startswith(prefix):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                changed = max(status.st_mtime_ns, status.st_atime_ns) / 1e9
                yield Blob(
                    digest=f"{ALGORITHM}:{digest}",
                    size_bytes=status.st_size,
                    changed_at=datetime.fromtimestamp(changed, UTC),
                )


def _time_of(path: Path) -> datetime | None:
    try:
        status = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(max(status.st_mtime_ns, status.st_atime_ns) / 1e9, UTC)


def _is_younger(path: Path, than: datetime) -> bool:
    changed = _time_of(path)
    return changed is not None and changed > than
