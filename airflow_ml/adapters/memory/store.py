"""The artifact store in memory: for tests, and for a function tried in a notebook."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from airflow_ml.adapters.ref_entry import check_after, conflict, decode_entry, encode_entry, gap
from airflow_ml.core.artifact import Artifact, Column, check_digest, check_ref
from airflow_ml.core.fingerprint import ALGORITHM, digest_bytes
from airflow_ml.core.ports import Entry
from airflow_ml.core.record import JSON
from airflow_ml.core.store_keeping import Blob
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound


class MemoryStore:
    """An ``ArtifactStore`` of one process, safe for threads; files of ``path`` lie in a folder that goes with it."""

    def __init__(self) -> None:
        self.uri = f"memory://{id(self):x}"
        #: Content by digest; a test may damage it.
        self.blobs: dict[str, bytes] = {}
        self._changed_at: dict[str, datetime] = {}
        self._trash: dict[str, tuple[bytes, datetime]] = {}
        self._entries: dict[str, list[bytes]] = {}
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="airflow-ml-memory-")

    def put_file(
        self,
        path: Path,
        *,
        format: str,
        rows: int | None = None,
        columns: Sequence[Column] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Store a file's content."""
        return self.put_bytes(path.read_bytes(), format=format, rows=rows, columns=columns, metadata=metadata)

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
        digest = digest_bytes(data)
        with self._lock:
            self.blobs[digest] = bytes(data)
            self._changed_at[digest] = datetime.now(UTC)
        return Artifact(
            digest=digest,
            format=format,
            size_bytes=len(data),
            uri=f"{self.uri}/{digest}",
            rows=rows,
            columns=tuple(columns),
            metadata=dict(metadata or {}),
        )

    def path(self, artifact: Artifact) -> Path:
        """Write the content to a new read-only file, unless a sound one is there; raises as ``get_bytes`` does."""
        data = self.get_bytes(artifact)
        file = Path(self._folder.name) / artifact.digest.removeprefix(f"{ALGORITHM}:")
        with self._lock:
            if not file.exists() or file.read_bytes() != data:
                file.unlink(missing_ok=True)
                file.write_bytes(data)
                file.chmod(0o444)
        return file

    def get_bytes(self, artifact: Artifact) -> bytes:
        """Return the verified content.

        Raises:
            ArtifactNotFound: no blob with that digest.
            ArtifactCorrupt: the bytes are not what the digest says; the blob is dropped.
        """
        data = self.blobs.get(check_digest(artifact.digest))
        if data is None and self.restore(artifact.digest):
            data = self.blobs.get(artifact.digest)
        if data is None:
            raise ArtifactNotFound(f"No blob {artifact.digest} in {self.uri}", "", "Run the task that makes it again.")
        if f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}" != artifact.digest:
            self.blobs.pop(artifact.digest, None)
            raise ArtifactCorrupt(
                f"The bytes of blob {artifact.digest} are not what the digest says",
                f"{len(data)} bytes",
                "Run the task that makes it again.",
            )
        return data

    def verify(self, digest: str) -> None:
        """Check the bytes; raises as ``get_bytes`` does."""
        self.get_bytes(Artifact(digest=digest, format="", size_bytes=0, uri=""))

    def append(self, ref: str, value: Mapping[str, JSON], *, after: int) -> Entry:
        """Create entry ``after + 1`` of a ref.

        Raises:
            RefConflict: somebody else created that entry, or entry ``after`` does not exist.
            ConfigurationError: for an entry over 1 MiB.
        """
        sequence = check_after(after)
        data = encode_entry(check_ref(ref), sequence, value)
        with self._lock:
            entries = self._entries.get(ref, [])
            if len(entries) < after:
                raise gap(ref, after)
            if len(entries) > after:
                raise conflict(ref, sequence)
            self._entries[ref] = [*entries, data]
        return decode_entry(ref, sequence, data)

    def latest(self, ref: str) -> Entry | None:
        """Return the newest entry, or None where the ref does not exist."""
        entries = self._entries.get(check_ref(ref), [])
        return decode_entry(ref, len(entries), entries[-1]) if entries else None

    def history(self, ref: str, *, newest_first: bool = False, up_to: int | None = None) -> Iterator[Entry]:
        """Yield all entries, oldest first or newest first."""
        entries = list(enumerate(self._entries.get(check_ref(ref), []), start=1))[:up_to]
        for sequence, data in reversed(entries) if newest_first else entries:
            yield decode_entry(ref, sequence, data)

    def refs(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the refs below a prefix (itself included), sorted."""
        if prefix:
            check_ref(prefix)
        yield from sorted(ref for ref in self._entries if not prefix or f"{ref}/".startswith(f"{prefix}/"))

    def list_blobs(self, prefix: str = "") -> Iterator[Blob]:
        """Yield the blobs whose hex digits begin so, in no particular order."""
        for digest, data in list(self.blobs.items()):
            if digest.startswith(f"{ALGORITHM}:{prefix}"):
                yield Blob(digest=digest, size_bytes=len(data), changed_at=self._changed_at[digest])

    def list_trash(self) -> Iterator[Blob]:
        """Yield what lies in the trash; ``changed_at`` is when it was put there."""
        for digest, (data, changed_at) in list(self._trash.items()):
            yield Blob(digest=digest, size_bytes=len(data), changed_at=changed_at)

    def trash(self, digest: str, *, unchanged_since: datetime) -> bool:
        """Put a blob into the trash, unless it was written or asked for again since; tell whether it is there now."""
        with self._lock:
            if digest in self.blobs and self._changed_at[digest] <= unchanged_since:
                self._trash[digest] = (self.blobs.pop(digest), datetime.now(UTC))
            return check_digest(digest) in self._trash

    def restore(self, digest: str) -> bool:
        """Bring a blob back from the trash; False where it is not there."""
        with self._lock:
            if digest in self._trash:
                data, _ = self._trash.pop(digest)
                self.blobs.setdefault(digest, data)
                self._changed_at[digest] = datetime.now(UTC)
            return check_digest(digest) in self.blobs

    def destroy(self, digest: str) -> None:
        """Remove a blob from the trash for good; nothing happens where it is not there."""
        with self._lock:
            self._trash.pop(check_digest(digest), None)
