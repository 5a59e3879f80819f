"""Local copies of blobs in one folder, which several processes may share; what was not used for longest goes first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import OrderedDict
from pathlib import Path

#: All copies together. A laptop's disk bears it, and a store's newest datasets fit.
COPIES_BYTES = 20 << 30
#: So that not each download empties the folder a little.
_TRIMMED_TO = 0.9
#: Copies whose paths a process was given last: it may open them again at any time.
_HELD = 64
#: A download that nobody goes on with.
_ABANDONED_SECONDS = 86_400.0


class LocalCopies:
    """Keeps copies below a bound; none is taken away that a process still uses.

    Whoever is given a path holds a shared lock on its file while this object lives, until it was given 64 others;
    children that are forked hold it, too. A copy is removed under an exclusive lock only. So what is in use may exceed
    the bound.

    Args:
        folder: Where they are.
        limit_bytes: How large they may be together.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = COPIES_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._limit_bytes = folder, limit_bytes
        self._held: OrderedDict[str, int] = OrderedDict()

    def __del__(self) -> None:
        """Let go of all copies."""
        for descriptor in getattr(self, "_held", {}).values():
            os.close(descriptor)

    def hold(self, name: str) -> bool:
        """Keep a copy from being removed, as one that is used now; False where there is none."""
        path = self.folder / name
        for _ in range(3):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path):
                break
            os.close(descriptor)  # it was removed, or replaced, before the lock was ours
        else:
            return False
        with contextlib.suppress(OSError):  # another user's file: it is used all the same
            os.utime(path)
        before = self._held.pop(name, None)
        self._held[name] = descriptor
        if before is not None:
            os.close(before)
        while len(self._held) > _HELD:
            os.close(self._held.popitem(last=False)[1])
        return True

    def trim(self) -> None:
        """Remove what was not used for longest, down to nine tenths of the bound, where that is exceeded."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, entry.name))
        total = sum(size for _, size, _ in found)
        if total <= self._limit_bytes:
            return
        for changed, size, name in sorted(found):
            if total <= self._limit_bytes * _TRIMMED_TO:
                return
            if name.startswith(".") and time.time() - changed < _ABANDONED_SECONDS:
                continue  # somebody downloads it
            if name not in self._held and self._remove(name):
                total -= size

    def _remove(self, name: str) -> bool:
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                path.unlink(missing_ok=True)
        except OSError:  # in use elsewhere, or not ours to remove
            return False
        finally:
            os.close(descriptor)
        return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
