"""Checkpoints: a folder whose content outlives the process that writes it.

A function writes what it needs to go on into the folder, as it would on a disk of its own. The content is put into the
store at most every so many seconds, and once more when the process is told to end; the next try of the same call finds
it there. A checkpoint counts when all its files are in the store: it is one entry of a ref, written last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.runtime.ref_append import append_last

#: Seconds between two checkpoints in the store, and the variable by which a deployment says otherwise.
EVERY_SECONDS, EVERY_VARIABLE = 60.0, "AIRFLOW_ML_CHECKPOINT_SECONDS"
#: A file that was changed within this time may be half written: the checkpoint before it counts.
SETTLED_SECONDS = 0.5
#: Files of one checkpoint; what has more wants to be one file.
MAX_FILES = 1000
_TICK_SECONDS = 0.25


class Checkpoint:
    """The folder of one call or trial.

    Args:
        open_store: Returns the store where checkpoints are kept; called when the folder is first asked for.
        ref: Their place.
        every_seconds: Between two of them.
    """

    def __init__(
        self, open_store: Callable[[], ArtifactStore], ref: str, *, every_seconds: float | None = None
    ) -> None:
        self._open_store = open_store
        self._ref = ref
        given = float(os.environ.get(EVERY_VARIABLE) or EVERY_SECONDS)
        self._every_seconds = given if every_seconds is None else every_seconds
        self._folder: Path | None = None
        self._kept: dict[str, tuple[int, int]] = {}
        self._kept_at = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._before: Any = None

    @cached_property
    def _store(self) -> ArtifactStore:
        return self._open_store()

    @property
    def folder(self) -> Path:
        """The folder, with what the try before left; asked for the first time, it is filled."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="airflow-ml-checkpoint-"))
            self._restore(self._folder)
            self._kept = _state(self._folder)
            threading.Thread(target=self._watch, name="checkpoint", daemon=True).start()
            if threading.current_thread() is threading.main_thread():
                self._before = signal.signal(signal.SIGTERM, self._terminated)
        return self._folder

    def keep(self) -> bool:
        """Put the folder's content into the store now; tell whether it was complete and is there."""
        with self._lock:
            if self._folder is None:
                return False
            before = _state(self._folder)
            if before == self._kept:
                return True
            if not before or not _settled(self._folder, before):
                return False
            files: list[JSON] = []
            for name in sorted(before):
                with contextlib.suppress(FileNotFoundError):
                    artifact = self._store.put_file(self._folder / name, format="checkpoint")
                    files.append({"path": name, "digest": artifact.digest, "size_bytes": artifact.size_bytes})
            if _state(self._folder) != before or len(files) != len(before):
                return False  # the function wrote again in the meantime: this state is not complete
            append_last(self._store, self._ref, {"files": files})
            self._kept, self._kept_at = before, time.monotonic()
            return True

    def close(self, *, succeeded: bool) -> None:
        """Stop the watch. After a success the next call starts from nothing, otherwise it resumes from here."""
        if self._folder is None:
            return
        self._over.set()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        if succeeded:
            with self._lock:
                if self._store.latest(self._ref) is not None:
                    append_last(self._store, self._ref, {"files": [], "ended": "succeeded"})
        else:
            self.keep()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _restore(self, folder: Path) -> None:
        newest = self._store.latest(self._ref)
        files: Any = newest.value["files"] if newest is not None else []
        for item in files:
            name = PurePosixPath(str(item["path"]))
            if name.is_absolute() or ".." in name.parts:
                continue
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            size = int(item["size_bytes"])
            artifact = Artifact(digest=str(item["digest"]), format="checkpoint", size_bytes=size, uri="")
            shutil.copyfile(self._store.path(artifact), target)

    def _watch(self) -> None:
        while not self._over.wait(min(_TICK_SECONDS, max(0.01, self._every_seconds / 4))):
            if time.monotonic() - self._kept_at >= self._every_seconds:
                try:
                    self.keep()
                except Exception as error:  # the store is away: the training goes on, the next try finds an older one
                    print(f"The checkpoint could not be stored: {type(error).__name__}: {error}", flush=True)  # noqa: T201
                    self._kept_at = time.monotonic()

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """Keep what is complete, then end as the signal would have."""
        # The watch may hold the lock in the middle of its own: then that is the last one.
        ended = threading.Thread(target=self.keep, daemon=True)
        ended.start()
        ended.join()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def checkpointing(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """Close a checkpoint as its function ends."""
    try:
        yield checkpoint
    except BaseException:
        checkpoint.close(succeeded=False)
        raise
    checkpoint.close(succeeded=True)


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of each file, by relative name; temporary names are left out."""
    found: dict[str, tuple[int, int]] = {}
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if file.is_file() and not file.is_symlink() and not file.name.endswith((".tmp", ".part")):
                status = file.stat()
                found[file.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return dict(list(found.items())[:MAX_FILES])


def _settled(folder: Path, state: dict[str, tuple[int, int]]) -> bool:
    newest = max(changed for _, changed in state.values()) / 1e9
    return time.time() - newest >= SETTLED_SECONDS
