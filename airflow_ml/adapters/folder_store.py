"""The artifact store in a folder: a local disk or a network file system with hard links.

    blobs/sha256/<2 hex>/<62 hex>      content, read-only, never changed
    refs/<name>/_<20 digits>.json      entries; no ref segment can start with ``_``, so a ref may lie below another
    tmp/                               files being written; what a crash left is removed after a day
    bad/                               blobs that failed verification
    trash/                             blobs that no ref named; a read or a put brings them back
    sizes/<bytes>                      a mark for each size of large blobs, so that most puts need not look for a twin

A file appears under its final name by ``os.link`` after its bytes were synced: whole or not at all, and never
replacing another. Its folder is synced before the call returns.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from airflow_ml.adapters.folder_files import sync
from airflow_ml.adapters.folder_refs import FolderRefs
from airflow_ml.adapters.folder_trash import FolderTrash, touch
from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.core.failpoint import fp
from airflow_ml.core.fingerprint import ALGORITHM, digest_bytes
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, ConfigurationError

_CHUNK_BYTES = 1 << 20
#: Content up to this size is hashed before anything is written; beyond it, a file is read once, hashed on the way.
_SMALL_BYTES = 8 << 20
#: What opening says of a link or a socket in a blob's place.
_NO_FILE = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO})


class FolderStore(FolderRefs, FolderTrash):
    """An ``ArtifactStore`` in a folder; safe for many threads, processes and hosts at once.

    Args:
        root: An absolute path; created if it does not exist.

    Raises:
        ConfigurationError: for a relative path, or one that is not a folder and cannot become one.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_absolute():
            raise ConfigurationError("The store's folder is a relative path", str(root), "Give an absolute path.")
        try:
            for name in ("blobs", "refs", "tmp", "bad", "trash", "sizes"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError("The store's path is not a folder", str(root), "Give a folder.") from error
        except (FileNotFoundError, PermissionError) as error:
            raise ConfigurationError(
                "The store's folder cannot be made",
                str(error),
                "Give a folder in which every process that runs tasks may write.",
            ) from error
        self._root = root.resolve()
        self.uri = self._root.as_uri()
        #: Blobs this object has verified, by what changes when a file does.
        self._verified: dict[str, tuple[int, int, int]] = {}
        self._reap()

    def put_file(
        self,
        path: Path,
        *,
        format: str,
        rows: int | None = None,
        columns: Sequence[Column] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Store a file's content; the same content twice is one blob, and the second time no byte is written."""
        with path.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            if size <= _SMALL_BYTES:
                data = source.read()
                digest, size = self._put_bytes(data), len(data)
            elif not self._size_mark(size).exists() or not self._has(digest := _digest_of(source)):
                source.seek(0)
                digest, size = self._put(iter(lambda: source.read(_CHUNK_BYTES), b""))
                self._size_mark(size).touch()
        return self._artifact(digest, size, format, rows, columns, metadata)

    def put_bytes(
        self,
        data: bytes,
        *,
        format: str,
        rows: int | None = None,
        columns: Sequence[Column] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Store bytes."""
        return self._artifact(self._put_bytes(data), len(data), format, rows, columns, metadata)

    def path(self, artifact: Artifact) -> Path:
        """Return the blob itself, verified; a file unchanged since this object verified it is not read again.

        Raises:
            ArtifactNotFound: no blob with that digest.
            ArtifactCorrupt: the bytes are not what the digest says; the blob is moved to ``bad/``.
        """
        self._verify(artifact.digest)
        return self._blob(artifact.digest)

    def get_bytes(self, artifact: Artifact) -> bytes:
        """Return the verified content; raises as ``path`` does."""
        blob = self._blob(artifact.digest)
        with self._open(artifact.digest, blob) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as source:
            data = source.read()
        if f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}" != artifact.digest:
            self._set_aside(artifact.digest, blob)
        return data

    def verify(self, digest: str) -> None:
        """Read the blob's bytes, although this object may have verified them before; raises as ``path`` does."""
        self._verified.pop(digest, None)
        self._verify(digest)

    def _put_bytes(self, data: bytes) -> str:
        digest = digest_bytes(data)
        if not self._has(digest):
            self._put([data])
        return digest

    def _put(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        with self._temporary(chunks) as (temporary, digest, size):
            fp("store.put.written")
            blob = self._blob(digest)
            self._make(blob.parent)
            placed = False
            while not placed:
                try:
                    os.link(temporary, blob)
                    placed = True
                except FileExistsError:
                    # The same content is here already, unless it has rotted: then this copy takes its place.
                    placed = self._has(digest)
            fp("store.put.linked")
            sync(blob.parent)
        return digest, size

    def _has(self, digest: str) -> bool:
        """Tell whether the sound content is here, and keep it from the trash a while longer."""
        try:
            self._verify(digest)
            touch(self._blob(digest))
            # Whoever linked it may not have come to this yet, and the caller is about to rely on it.
            sync(self._blob(digest).parent)
        except (ArtifactCorrupt, ArtifactNotFound, FileNotFoundError):
            return False
        return True

    def _verify(self, digest: str) -> None:
        blob = self._blob(digest)
        with self._open(digest, blob) as descriptor:
            status = os.fstat(descriptor)
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._verified.get(digest) == mark:
                return
            with os.fdopen(descriptor, "rb", closefd=False) as source:
                found = hashlib.file_digest(source, ALGORITHM).hexdigest()
        if f"{ALGORITHM}:{found}" != digest:
            self._set_aside(digest, blob)
        self._verified[digest] = mark

    @contextlib.contextmanager
    def _open(self, digest: str, blob: Path) -> Iterator[int]:
        """Open a blob without following a link that somebody put in its place."""
        try:
            descriptor = os.open(blob, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            if self.restore(digest):
                with self._open(digest, blob) as descriptor:
                    yield descriptor
                return
            raise ArtifactNotFound(
                f"No blob {digest} in {self.uri}", "", "Run the task that makes it again, or restore the store."
            ) from None
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise  # too many open files, no right to read, a server that is away: the bytes may be sound
            self._set_aside(digest, blob)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._set_aside(digest, blob)
            yield descriptor
        finally:
            os.close(descriptor)

    def _set_aside(self, digest: str, blob: Path) -> NoReturn:
        self._verified.pop(digest, None)
        bad = self._bad(blob)
        with contextlib.suppress(FileNotFoundError):  # somebody else found it at the same time
            os.replace(blob, bad)
        raise ArtifactCorrupt(
            f"The bytes of blob {digest} are not what the digest says",
            f"moved to {bad}",
            "Run the task that makes it again, or restore the blob from the store's backup.",
        )

    def _bad(self, blob: Path) -> Path:
        return self._root / "bad" / f"{blob.parent.name}{blob.name}.{uuid.uuid4().hex[:8]}"

    def _size_mark(self, size: int) -> Path:
        return self._root / "sizes" / str(size)

    def _artifact(
        self,
        digest: str,
        size: int,
        format: str,
        rows: int | None,
        columns: Sequence[Column],
        metadata: Mapping[str, str] | None,
    ) -> Artifact:
        return Artifact(
            digest=digest,
            format=format,
            size_bytes=size,
            uri=self._blob(digest).as_uri(),
            rows=rows,
            columns=tuple(columns),
            metadata=dict(metadata or {}),
        )


def _digest_of(source: io.BufferedReader) -> str:
    return f"{ALGORITHM}:{hashlib.file_digest(source, ALGORITHM).hexdigest()}"
