"""The artifact store on S3, or a service with S3's conditional writes.

    <prefix>/blobs/sha256/<2 hex>/<62 hex>
    <prefix>/refs/<name>/_<20 digits>.json      the digits count down, so that a list of one key finds the newest entry
    <prefix>/bad/...                            blobs that failed verification

Objects are created with ``If-None-Match: *``: 412 means that somebody did it before, 409 that two raced and one must
ask again. After a lost answer the client's own repetition gets 412 for its own write, so a 412 on a ref is read back:
an entry with our own token is ours.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_ml.adapters.ref_entry import SEQUENCE_DIGITS, check_after, conflict, decode_entry, encode_entry, gap
from airflow_ml.core.artifact import Artifact, Column, check_digest, check_ref
from airflow_ml.core.fingerprint import ALGORITHM, digest_bytes
from airflow_ml.core.ports import Entry
from airflow_ml.core.record import JSON
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, ConfigurationError, MissingDependency

_CHUNK_BYTES = 1 << 20
#: Attempts of a write that S3 answers with 409; each waits up to 0.1 s x 2^attempt.
_RACE_ATTEMPTS = 8
_LAST_SEQUENCE = 10**SEQUENCE_DIGITS - 1
_OWNER = "writer"


class S3Store:
    """An ``ArtifactStore`` on S3; safe for many threads, processes and hosts at once.

    Args:
        bucket: An existing bucket.
        prefix: Where in the bucket; may be empty.
        cache_dir: Folder for verified local copies; a private temporary one by default.
        client: A boto3 S3 client; by default one with boto3's own settings, 5 attempts and time-outs of 10 and 60 s.

    Raises:
        ConfigurationError: no bucket is named.
        MissingDependency: boto3 is not installed.
    """

    def __init__(self, bucket: str, prefix: str = "", *, cache_dir: Path | None = None, client: Any = None) -> None:
        if not bucket:
            raise ConfigurationError(
                "The store's address names no bucket", f"s3://{bucket}/{prefix}", "Write s3://bucket."
            )
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.uri = f"s3://{bucket}/{self._prefix}".rstrip("/")
        self._client = client if client is not None else _client()
        if cache_dir is None:
            self._private = tempfile.TemporaryDirectory(prefix="airflow-ml-s3-")
            cache_dir = Path(self._private.name)
        cache_dir.mkdir(parents=True, exist_ok=True)
        self._cache = cache_dir

    def put_file(
        self,
        path: Path,
        *,
        format: str,
        rows: int | None = None,
        columns: Sequence[Column] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Store a file's content, up to 5 GiB (one conditional PUT)."""
        with path.open("rb") as source:
            digest = f"{ALGORITHM}:{hashlib.file_digest(source, ALGORITHM).hexdigest()}"
            size = source.tell()
            self._put_blob(digest, source)
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
        self._put_blob(digest, data)
        return self._artifact(digest, len(data), format, rows, columns, metadata)

    def path(self, artifact: Artifact) -> Path:
        """Return a local copy, verified on every call; a damaged copy is fetched again.

        Raises:
            ArtifactNotFound: no blob with that digest.
            ArtifactCorrupt: the stored bytes are not what the digest says; the blob is moved to ``bad/``.
        """
        local = self._local(artifact.digest)
        if not _is_sound(local, artifact.digest):
            self._download(artifact.digest, local)
        return local

    def get_bytes(self, artifact: Artifact) -> bytes:
        """Return the verified content; raises as ``path`` does."""
        data = self.path(artifact).read_bytes()
        if digest_bytes(data) != artifact.digest:  # damaged between the check and the read
            return self.path(artifact).read_bytes()
        return data

    def append(self, ref: str, value: Mapping[str, JSON], *, after: int) -> Entry:
        """Create entry ``after + 1`` of a ref.

        Raises:
            RefConflict: somebody else created that entry, or entry ``after`` does not exist.
            ConfigurationError: for an entry over 1 MiB.
        """
        sequence = check_after(after)
        data = encode_entry(check_ref(ref), sequence, value)
        if after and not self._exists(self._entry_key(ref, after)):
            raise gap(ref, after)
        key, owner = self._entry_key(ref, sequence), uuid.uuid4().hex
        if (
            not self._create(key, data, digest_bytes(data), owner)
            and self._head(key).get("Metadata", {}).get(_OWNER) != owner
        ):
            raise conflict(ref, sequence)
        return decode_entry(ref, sequence, data)

    def latest(self, ref: str) -> Entry | None:
        """Return the newest entry, or None where the ref does not exist: one list request and one read."""
        answer = self._client.list_objects_v2(
            Bucket=self._bucket, Prefix=f"{self._prefix}refs/{check_ref(ref)}/_", MaxKeys=1
        )
        keys = [item["Key"] for item in answer.get("Contents", [])]
        return self._entry(ref, keys[0]) if keys else None

    def history(self, ref: str, *, newest_first: bool = False) -> Iterator[Entry]:
        """Yield all entries, oldest first or newest first, which is the order of their keys: nothing beyond what is
        asked for is listed or read."""
        keys = self._keys(f"{self._prefix}refs/{check_ref(ref)}/_")
        for key in keys if newest_first else reversed(list(keys)):
            yield self._entry(ref, key)

    def refs(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the refs below a prefix (itself included), sorted."""
        base = f"{self._prefix}refs/"
        start = f"{base}{check_ref(prefix)}/" if prefix else base
        yield from sorted({key.removeprefix(base).rpartition("/")[0] for key in self._keys(start)})

    def _put_blob(self, digest: str, body: Any) -> None:
        key = self._blob_key(digest)
        for _ in range(2):
            self._create(key, body, digest)
            # S3 keeps the checksum it verified; where it has none, or another one, the bytes themselves decide.
            if self._client_checksum(key) == _base64(digest):
                return
            with contextlib.suppress(ArtifactNotFound, ArtifactCorrupt):  # a rotten blob is set aside: once more
                self._download(digest, self._local(digest))
                return
        raise ArtifactCorrupt(f"The store does not keep blob {digest}", self.uri, "Check the bucket's policies.")

    def _create(self, key: str, body: Any, digest: str, owner: str = "") -> bool:
        """Put an object if there is none; False where there is one."""
        for attempt in range(_RACE_ATTEMPTS):
            if hasattr(body, "seek"):
                body.seek(0)
            status = self._status(
                lambda: self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=body,
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=_base64(digest),
                    Metadata={_OWNER: owner},
                )
            )
            if status != 409:
                return status != 412
            time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 - jitter
        return False

    def _status(self, request: Callable[[], Any]) -> int:
        """Make a request and return its HTTP status, where that is an answer and not a fault."""
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        try:
            return int(request()["ResponseMetadata"]["HTTPStatusCode"])
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            code = error.response.get("Error", {}).get("Code", "")
            if status in (404, 409, 412) and code != "NoSuchBucket":
                return status
            if status in (301, 400, 401, 403, 404):
                raise ConfigurationError(
                    f"The store {self.uri} refused a request",
                    f"{code} (HTTP {status})",
                    "Check that the bucket exists and that these credentials may read, write and list in it.",
                ) from error
            raise

    def _client_checksum(self, key: str) -> str | None:
        head: dict[str, Any] = {}
        status = self._status(lambda: head.update(self._head(key, ChecksumMode="ENABLED")) or head)
        return str(head.get("ChecksumSHA256")) if status == 200 else None

    def _head(self, key: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=key, **options)
        return answer

    def _exists(self, key: str) -> bool:
        return self._status(lambda: self._head(key)) != 404

    def _download(self, digest: str, local: Path) -> None:
        key = self._blob_key(digest)
        temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex}")

        def fetch() -> Any:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with temporary.open("xb") as target:
                for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                    target.write(chunk)
            return answer

        try:
            if self._status(fetch) == 404:
                raise ArtifactNotFound(
                    f"No blob {digest} in {self.uri}", "", "Run the task that makes it again, or restore the store."
                )
            if not _is_sound(temporary, digest):
                self._set_aside(digest, key)
            temporary.chmod(0o444)
            os.replace(temporary, local)
        finally:
            temporary.unlink(missing_ok=True)

    def _set_aside(self, digest: str, key: str) -> None:
        bad = f"{self._prefix}bad/{digest.removeprefix(f'{ALGORITHM}:')}.{uuid.uuid4().hex[:8]}"
        self._client.copy_object(Bucket=self._bucket, Key=bad, CopySource={"Bucket": self._bucket, "Key": key})
        self._client.delete_object(Bucket=self._bucket, Key=key)
        raise ArtifactCorrupt(
            f"The bytes of blob {digest} are not what the digest says",
            f"moved to s3://{self._bucket}/{bad}",
            "Run the task that makes it again, or restore the blob from the store's backup.",
        )

    def _entry(self, ref: str, key: str) -> Entry:
        sequence = _LAST_SEQUENCE - int(key.rpartition("/_")[2].removesuffix(".json"))
        data = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return decode_entry(ref, sequence, data)

    def _keys(self, prefix: str) -> Iterator[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            yield from (item["Key"] for item in page.get("Contents", []))

    def _local(self, digest: str) -> Path:
        return self._cache / check_digest(digest).removeprefix(f"{ALGORITHM}:")

    def _blob_key(self, digest: str) -> str:
        name = check_digest(digest).removeprefix(f"{ALGORITHM}:")
        return f"{self._prefix}blobs/{ALGORITHM}/{name[:2]}/{name[2:]}"

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


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest.removeprefix(f"{ALGORITHM}:"))).decode()


def _is_sound(file: Path, digest: str) -> bool:
    try:
        with file.open("rb") as source:
            return f"{ALGORITHM}:{hashlib.file_digest(source, ALGORITHM).hexdigest()}" == digest
    except FileNotFoundError:
        return False


def _client() -> Any:
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependency("A store on S3 needs boto3", "boto3", "Install airflow-ml[amazon].") from error
    options = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
    return boto3.client("s3", config=options)
