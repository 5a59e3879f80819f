"""Objects in one S3 bucket: create if absent, in one request or in parts; copy; ask."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

from airflow_ml.core.fingerprint import ALGORITHM
from airflow_ml.errors import (
    AirflowMLError,
    ArtifactCorrupt,
    ConfigurationError,
    MissingDependency,
    StoreUnavailable,
)

#: Connections that a client keeps open. All threads of a triggerer share one client; what is beyond is opened for one
#: request, closed, and warned of.
CONNECTIONS = 40
#: Attempts of a write that S3 answers with 409; each waits up to 0.1 s x 2^attempt.
_RACE_ATTEMPTS = 8
#: Beyond this size an object is written in parts: S3 takes 5 GiB in one request, and a lost one is sent again whole.
SINGLE_BYTES = 256 << 20
_PART_BYTES = 64 << 20
#: S3 takes 10,000 parts.
_PARTS = 10_000
#: Metadata of ours: the token of an entry's writer, and the digest of what was written or copied in parts, for which S3
#: keeps a checksum of checksums only.
OWNER, DIGEST = "writer", "digest"
#: Codes of S3 for bytes that are not those of the announced digest, and for what may be asked again.
_OTHER_BYTES = ("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch")
_LATER = ("RequestTimeout", "SlowDown", "OperationAborted", "ServiceUnavailable", "InternalError")
_DONE = {"ResponseMetadata": {"HTTPStatusCode": 200}}


class Objects:
    """One bucket.

    Args:
        client: A boto3 S3 client.
        bucket: An existing bucket.
        uri: The store's address, for messages.
    """

    def __init__(self, client: Any, bucket: str, uri: str) -> None:
        self.client = client
        self.bucket = bucket
        self._uri = uri

    def create(self, key: str, body: bytes | BinaryIO, digest: str, owner: str = "") -> bool:
        """Create an object if there is none; False where there is one. S3 checks the bytes against the digest."""
        for attempt in range(_RACE_ATTEMPTS):
            if not isinstance(body, bytes):
                body.seek(0)
            status = self.status(
                lambda: self.client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum(digest),
                    Metadata={OWNER: owner},
                )
            )
            if status != 409:
                return status != 412
            time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 - jitter
        return False

    def create_in_parts(self, key: str, source: BinaryIO, size: int, digest: str) -> bool:
        """Create a large object if there is none; False where there is one. S3 checks each part.

        Raises:
            ArtifactCorrupt: the file is being changed while it is read; nothing is stored.
        """
        part_bytes = max(_PART_BYTES, -(-size // _PARTS))
        where = {"Bucket": self.bucket, "Key": key}
        upload = self.ask(
            lambda: self.client.create_multipart_upload(
                **where, ChecksumAlgorithm="SHA256", Metadata={OWNER: "", DIGEST: digest}
            )["UploadId"]
        )
        try:
            parts: list[dict[str, Any]] = []
            whole = hashlib.sha256()
            source.seek(0)
            while data := source.read(part_bytes):
                whole.update(data)
                number, check = len(parts) + 1, base64.b64encode(hashlib.sha256(data).digest()).decode()
                part = {**where, "UploadId": upload, "PartNumber": number, "Body": data, "ChecksumSHA256": check}
                answer = self.ask(partial(self.client.upload_part, **part))
                parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": check})
            if f"{ALGORITHM}:{whole.hexdigest()}" != digest:
                raise ArtifactCorrupt("The file changed while it was stored", key, "Store it when it is complete.")
            status = self.status(
                lambda: self.client.complete_multipart_upload(
                    **where, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
            )
        except BaseException:
            with contextlib.suppress(AirflowMLError):  # S3 may be away; what ended this says more
                self.ask(lambda: self.client.abort_multipart_upload(**where, UploadId=upload))
            raise
        if status in (409, 412):  # somebody else created it meanwhile; these parts are of no use
            self.ask(lambda: self.client.abort_multipart_upload(**where, UploadId=upload))
        return status not in (409, 412)

    def is_whole(self, key: str, digest: str) -> bool:
        """Tell whether S3 itself vouches for these bytes: by its checksum, or by those of all parts."""
        head = self.head(key, ChecksumMode="ENABLED")
        if head is None:
            return False
        return head.get("ChecksumSHA256") == checksum(digest) or head.get("Metadata", {}).get(DIGEST) == digest

    def head(self, key: str, **options: Any) -> dict[str, Any] | None:
        """Return what S3 says of an object; None where it is not there."""
        head: dict[str, Any] = {}
        status = self.status(
            lambda: head.update(self.client.head_object(Bucket=self.bucket, Key=key, **options)) or head
        )
        return head if status == 200 else None

    def changed_at(self, key: str) -> datetime | None:
        """Return when an object was written; None where it is not there."""
        head = self.head(key)
        return None if head is None else head["LastModified"]

    def copy(self, source: str, target: str) -> bool:
        """Copy an object of any size, onto itself as well; False where it is not there."""
        head = self.head(source, ChecksumMode="ENABLED")
        if head is None:
            return False
        metadata, known = dict(head.get("Metadata", {})), str(head.get("ChecksumSHA256", ""))
        if known and "-" not in known:
            # boto3 copies large objects in parts, after which S3 has no checksum of the whole any more.
            metadata[DIGEST] = f"{ALGORITHM}:{base64.b64decode(known).hex()}"
        # S3 copies an object onto itself only where something is replaced.
        settings = {"MetadataDirective": "REPLACE", "Metadata": metadata, "ChecksumAlgorithm": "SHA256"}
        place = {"Bucket": self.bucket, "Key": source}
        # It returns nothing: what is not refused is done.
        status = self.status(lambda: self.client.copy(place, self.bucket, target, ExtraArgs=settings) or _DONE)
        return status != 404

    def listed(self, prefix: str, *, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield S3's own description of the objects below a prefix, page by page, in the order of their keys.

        Args:
            prefix: With which their keys begin.
            after: Only those behind this key.
        """
        settings = {"StartAfter": after} if after else {}
        paginator = self.client.get_paginator("list_objects_v2")
        pages = iter(paginator.paginate(Bucket=self.bucket, Prefix=prefix, **settings))
        while (page := self.ask(lambda: next(pages, None))) is not None:
            yield from page.get("Contents", [])

    def first(self, prefix: str) -> str | None:
        """Return the first key below a prefix; None where there is none."""
        answer = self.ask(lambda: self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1))
        return next((str(item["Key"]) for item in answer.get("Contents", [])), None)

    def read(self, key: str) -> bytes:
        """Return the content of a small object that is there."""
        return bytes(self.ask(lambda: self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()))

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens where it is not there."""
        self.ask(lambda: self.client.delete_object(Bucket=self.bucket, Key=key))

    def status(self, request: Callable[[], Any]) -> int:
        """Make a request and return its HTTP status, where that is an answer and not a fault.

        Raises:
            ConfigurationError, StoreUnavailable: as `ask`.
        """
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        def answered() -> int:
            try:
                return int(request()["ResponseMetadata"]["HTTPStatusCode"])
            except ClientError as error:
                if _status_of(error) in (404, 409, 412) and _code_of(error) != "NoSuchBucket":
                    return _status_of(error)
                raise

        return int(self.ask(answered))

    def ask(self, request: Callable[[], Any]) -> Any:
        """Make a request and return what it returns.

        Raises:
            ConfigurationError: S3 refuses, for a reason that lies in the bucket, the credentials or the service.
            ArtifactCorrupt: the bytes that were sent are not those that were announced.
            StoreUnavailable: S3 cannot be reached, is overloaded, or there are no credentials.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return request()
        except ClientError as error:
            raise self._refused(error) from error
        except BotoCoreError as error:
            raise StoreUnavailable(
                f"The store {self._uri} cannot be reached",
                f"{type(error).__name__}: {error}",
                "Check the store's address, the network and the credentials of this process.",
            ) from error

    def _refused(self, error: Any) -> AirflowMLError:
        """Return what an answer of S3 means that is not a success."""
        status, code = _status_of(error), _code_of(error)
        reply = f"{code} (HTTP {status}): {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
        if code in _OTHER_BYTES:
            return ArtifactCorrupt("The file changed while it was stored", reply, "Store it when it is complete.")
        if status == 0 or status == 429 or status >= 500 or code in _LATER:
            return StoreUnavailable(f"The store {self._uri} does not serve now", reply, "Run the task again.")
        remedy = "Check that the bucket exists and that these credentials may read, write and list in it."
        if status not in (301, 400, 401, 403, 404):
            remedy = "Check the bucket's settings, and that the service is S3 or does what S3 does."
        return ConfigurationError(f"The store {self._uri} refused a request", reply, remedy)


def _status_of(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code_of(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def checksum(digest: str) -> str:
    """Return a digest as S3 writes it."""
    return base64.b64encode(bytes.fromhex(digest.removeprefix(f"{ALGORITHM}:"))).decode()


def default_client() -> Any:
    """Return a client with boto3's own settings, 5 attempts and time-outs of 10 and 60 s.

    Raises:
        MissingDependency: boto3 is not installed.
    """
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependency("A store on S3 needs boto3", "boto3", "Install airflow-ml[amazon].") from error
    options = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=CONNECTIONS,
    )
    return boto3.client("s3", config=options)
