"""Files below one folder that appear whole or not at all: written aside, synced, and linked under their name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from airflow_ml.core.fingerprint import ALGORITHM
from airflow_ml.errors import ConfigurationError

#: Older files in tmp/ belong to nobody: no write takes a day.
_TMP_GRACE_SECONDS = 24 * 3600.0


class FolderFiles:
    """The writing that blobs and refs of a store in a folder share."""

    _root: Path

    @contextlib.contextmanager
    def _temporary(self, chunks: Iterable[bytes]) -> Iterator[tuple[Path, str, int]]:
        """Write a synced, read-only file in tmp/, hashing on the way; it is gone at the end."""
        temporary = self._root / "tmp" / uuid.uuid4().hex
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("xb") as target:
                for chunk in chunks:
                    digest.update(chunk)
                    size += target.write(chunk)
                target.flush()
                os.fchmod(target.fileno(), 0o444)
                os.fsync(target.fileno())
            yield temporary, f"{ALGORITHM}:{digest.hexdigest()}", size
        finally:
            temporary.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """Create a folder below the root, each new level synced in its parent; refuse one that leads outside."""
        missing = [level for level in (folder, *folder.parents) if not level.exists()]
        for level in reversed(missing):
            level.mkdir(exist_ok=True)
            sync(level.parent)
        if not folder.resolve().is_relative_to(self._root):
            raise ConfigurationError("A folder of the store leads outside of it", str(folder), "Remove the link.")

    def _reap(self) -> None:
        before = time.time() - _TMP_GRACE_SECONDS
        for leftover in (self._root / "tmp").iterdir():
            # Somebody else removed it, or it is another user's: no reason not to open the store.
            with contextlib.suppress(OSError):
                if leftover.stat().st_mtime < before:
                    leftover.unlink()


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
