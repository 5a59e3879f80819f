"""The artifact store on S3, or a service with S3's conditional writes.

    <prefix>/blobs/sha256/<2 hex>/<62 hex>
    <prefix>/refs/<name>/_<20 digits>.json      the digits count down, so that a list of one key finds the newest entry
    <prefix>/bad/...                            blobs that failed verification
    <prefix>/trash/<64 hex>                     blobs that no ref named; a read or a put brings them back
    <prefix>/conditional-writes                 the first write of a process sees that it cannot be made again

Objects are created with ``If-None-Match: *``: 412 means that somebody did it before, 409 that two raced and one must
ask again. After a lost answer the client's own repetition gets 412 for its own write, so a 412 on a ref is read back:
an entry with our own token is ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from airflow_ml.adapters.local_copies import COPIES_BYTES, LocalCopies
from airflow_ml.adapters.ref_entry import SEQUENCE_DIGITS, check_after, conflict, decode_entry, encode_entry, gap
from airflow_ml.adapters.s3_objects import OWNER, SINGLE_BYTES, Objects, default_client
from airflow_ml.adapters.s3_trash import S3Trash
from airflow_ml.core.artifact import Artifact, Column, check_digest, check_ref
from airflow_ml.core.failpoint import fp
from airflow_ml.core.fingerprint import ALGORITHM, digest_bytes
from airflow_ml.core.ports import Entry
from airflow_ml.core.record import JSON
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, ConfigurationError

_CHUNK_BYTES = 1 << 20
_LAST_SEQUENCE = 10**SEQUENCE_DIGITS - 1


class S3Store(S3Trash):
    """An ``ArtifactStore`` on S3; safe for many threads, processes and hosts at once.

    Args:
        bucket: An existing bucket.
        prefix: Where in the bucket; may be empty.
        cache_dir: Folder for verified local copies; a private temporary one by default.
        cache_bytes: Beyond so much together, copies that nobody uses are removed, those that were not used for longest
            first. Default 20 GiB.
        client: A boto3 S3 client; by default one with boto3's own settings, 5 attempts and time-outs of 10 and 60 s.
        check_conditional_writes: Make sure, at the first write, that the service refuses to create what exists: on one
            that does not, two writers of one ref would both win. False is for a service known to do so whose
            credentials may not write the mark.

    Raises:
        ConfigurationError: no bucket is named; at the first write, the service has no conditional writes.
        MissingDependency: boto3 is not installed.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        cache_dir: Path | None = None,
        cache_bytes: int = COPIES_BYTES,
        client: Any = None,
        check_conditional_writes: bool = True,
    ) -> None:
        if not bucket:
            raise ConfigurationError(
                "The store's address names no bucket", f"s3://{bucket}/{prefix}", "Write s3://bucket."
            )
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        # By this address a runner or a pod opens it again, in the same way.
        assumed = "" if check_conditional_writes else "?conditional_writes=assumed"
        self.uri = f"s3://{bucket}/{self._prefix}".rstrip("/") + assumed
        self._objects = Objects(client if client is not None else default_client(), bucket, self.uri)
        self._is_checked = not check_conditional_writes
        if cache_dir is None:
            self._private = tempfile.TemporaryDirectory(prefix="airflow-ml-s3-")
            cache_dir = Path(self._private.name)
        self._copies = LocalCopies(cache_dir, limit_bytes=cache_bytes)

    def put_file(
        self,
        path: Path,
        *,
        format: str,
        rows: int | None = None,
        columns: Sequence[Column] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Store a file's content, up to 5 TiB; where it is there already, no byte of it is sent."""
        with path.open("rb") as source:
            digest = f"{ALGORITHM}:{hashlib.file_digest(source, ALGORITHM).hexdigest()}"
            size = source.tell()
            self._put_blob(digest, source, size)
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
        digest = digest_bytes(data)
        self._put_blob(digest, data, len(data))
        return self._artifact(digest, len(data), format, rows, columns, metadata)

    def path(self, artifact: Artifact) -> Path:
        """Return a local copy, verified on every call; a damaged copy is fetched again.

        Raises:
            ArtifactNotFound: no blob with that digest.
            ArtifactCorrupt: the stored bytes are not what the digest says; the blob is moved to ``bad/``.
        """
        local = self._local(artifact.digest)
        for _ in range(3):  # another process may remove it before it is held
            if self._copies.hold(local.name) and _is_sound(local, artifact.digest):
                break
            self._download(artifact.digest, local)
        return local

    def get_bytes(self, artifact: Artifact) -> bytes:
        """Return the verified content; raises as ``path`` does."""
        data = self.path(artifact).read_bytes()
        if digest_bytes(data) != artifact.digest:  # damaged between the check and the read
            return self.path(artifact).read_bytes()
        return data

    def verify(self, digest: str) -> None:
        """Read the object's bytes, without keeping a copy; raises as ``path`` does."""
        key, found = self._blob_key(digest), hashlib.sha256()

        def read() -> Any:
            answer = self._objects.client.get_object(Bucket=self._bucket, Key=key)
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                found.update(chunk)
            return answer

        if self._objects.status(read) == 404:
            raise self._not_found(digest)
        if f"{ALGORITHM}:{found.hexdigest()}" != digest:
            self._set_aside(digest, key)

    def append(self, ref: str, value: Mapping[str, JSON], *, after: int) -> Entry:
        """Create entry ``after + 1`` of a ref.

        Raises:
            RefConflict: somebody else created that entry, or entry ``after`` does not exist.
            ConfigurationError: for an entry over 1 MiB.
        """
        sequence = check_after(after)
        data = encode_entry(check_ref(ref), sequence, value)
        self._check()
        if after and self._objects.head(self._entry_key(ref, after)) is None:
            raise gap(ref, after)
        key, owner = self._entry_key(ref, sequence), uuid.uuid4().hex
        if not self._objects.create(key, data, digest_bytes(data), owner):
            head = self._objects.head(key)
            if head is None or head.get("Metadata", {}).get(OWNER) != owner:
                raise conflict(ref, sequence)
        fp("store.append.created")
        return decode_entry(ref, sequence, data)

    def latest(self, ref: str) -> Entry | None:
        """Return the newest entry, or None where the ref does not exist: one list request and one read."""
        key = self._objects.first(f"{self._prefix}refs/{check_ref(ref)}/_")
        return self._entry(ref, key) if key is not None else None

    def history(self, ref: str, *, newest_first: bool = False, up_to: int | None = None) -> Iterator[Entry]:
        """Yield all entries, oldest first or newest first, which is the order of their keys: nothing beyond what is
        asked for is listed or read."""
        after = "" if up_to is None else self._entry_key(ref, up_to + 1)
        keys = self._keys(f"{self._prefix}refs/{check_ref(ref)}/_", after=after)
        for key in keys if newest_first else reversed(list(keys)):
            yield self._entry(ref, key)

    def refs(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the refs below a prefix (itself included), sorted."""
        base = f"{self._prefix}refs/"
        start = f"{base}{check_ref(prefix)}/" if prefix else base
        yield from sorted({key.removeprefix(base).rpartition("/")[0] for key in self._keys(start)})

    def _put_blob(self, digest: str, body: bytes | BinaryIO, size: int) -> None:
        self._check()
        key = self._blob_key(digest)
        for _ in range(3):
            if self._objects.is_whole(key, digest):
                if self._keep(digest):
                    return
                continue
            # Where S3 has no checksum of ours the bytes themselves decide; a rotten blob is set aside: once more.
            if self._objects.head(key) is not None:
                with contextlib.suppress(ArtifactNotFound, ArtifactCorrupt):
                    self._download(digest, self._local(digest))
                    return
            if isinstance(body, bytes) or size <= SINGLE_BYTES:
                self._objects.create(key, body, digest)
            else:
                self._objects.create_in_parts(key, body, size, digest)
            fp("store.put.created")
        if not self._objects.is_whole(key, digest):
            raise ArtifactCorrupt(f"The store does not keep blob {digest}", self.uri, "Check the bucket's policies.")

    def _check(self) -> None:
        """See once in a process that the service has conditional writes: its second creation of the mark must fail."""
        key, body = f"{self._prefix}conditional-writes", b"Written once: If-None-Match works here.\n"
        if not self._is_checked and all(self._objects.create(key, body, digest_bytes(body)) for _ in range(2)):
            raise ConfigurationError(
                f"The service of {self.uri} has no conditional writes",
                "it created an object twice in spite of If-None-Match",
                "Use S3 or a service that has them, or a folder: here two writers of one ref would both win.",
            )
        self._is_checked = True

    def _download(self, digest: str, local: Path) -> None:
        key = self._blob_key(digest)
        temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex}")

        def fetch() -> Any:
            answer = self._objects.client.get_object(Bucket=self._bucket, Key=key)
            with temporary.open("xb") as target:
                for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                    target.write(chunk)
            return answer

        try:
            if self._objects.status(fetch) == 404 and not (self.restore(digest) and self._objects.status(fetch) != 404):
                raise self._not_found(digest)
            if not _is_sound(temporary, digest):
                self._set_aside(digest, key)
            temporary.chmod(0o444)
            os.replace(temporary, local)
            self._copies.hold(local.name)
            self._copies.trim()
        finally:
            temporary.unlink(missing_ok=True)

    def _not_found(self, digest: str) -> ArtifactNotFound:
        return ArtifactNotFound(
            f"No blob {digest} in {self.uri}", "", "Run the task that makes it again, or restore the store."
        )

    def _set_aside(self, digest: str, key: str) -> None:
        bad = f"{self._prefix}bad/{digest.removeprefix(f'{ALGORITHM}:')}.{uuid.uuid4().hex[:8]}"
        self._objects.copy(key, bad)
        self._objects.remove(key)
        raise ArtifactCorrupt(
            f"The bytes of blob {digest} are not what the digest says",
            f"moved to s3://{self._bucket}/{bad}",
            "Run the task that makes it again, or restore the blob from the store's backup.",
        )

    def _entry(self, ref: str, key: str) -> Entry:
        sequence = _LAST_SEQUENCE - int(key.rpartition("/_")[2].removesuffix(".json"))
        return decode_entry(ref, sequence, self._objects.read(key))

    def _keys(self, prefix: str, *, after: str = "") -> Iterator[str]:
        yield from (item["Key"] for item in self._objects.listed(prefix, after=after))

    def _local(self, digest: str) -> Path:
        return self._copies.folder / check_digest(digest).removeprefix(f"{ALGORITHM}:")

    def _entry_key(self, ref: str, sequence: int) -> str:
        return f"{self._prefix}refs/{ref}/_{_LAST_SEQUENCE - sequence:0{SEQUENCE_DIGITS}d}.json"

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
            uri=f"s3://{self._bucket}/{self._blob_key(digest)}",
            rows=rows,
            columns=tuple(columns),
            metadata=dict(metadata or {}),
        )


def _is_sound(file: Path, digest: str) -> bool:
    try:
        with file.open("rb") as source:
            return f"{ALGORITHM}:{hashlib.file_digest(source, ALGORITHM).hexdigest()}" == digest
    except FileNotFoundError:
        return False
