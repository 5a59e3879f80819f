"""Open an artifact store by its address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.store_keeping import StoreKeeper


def open_store(
    uri: str, *, cache_dir: Path | None = None, cache_bytes: int | None = None, client: Any = None
) -> StoreKeeper:
    """Return the store at an address.

    Args:
        uri: ``file:///absolute/path``, a plain absolute path, ``s3://bucket/prefix`` or ``s3://conn_id@bucket/prefix``.
            ``?conditional_writes=assumed`` at the end leaves out the check that the service has them.
        cache_dir: Folder for local copies of what lies on S3; a private temporary one by default. Copies are verified
            on every read, so several processes may share it.
        cache_bytes: How large these copies may be together; what was not used for longest is removed. Default 20 GiB.
        client: A boto3 S3 client, for S3 only. A connection in the address is for the surface to resolve into this
            client: with a connection and no client the call is refused rather than made with other credentials.

    Raises:
        ConfigurationError: for any other address.
        MissingDependency: boto3 is needed and not installed.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        from airflow_ml.adapters.local_copies import COPIES_BYTES
        from airflow_ml.adapters.s3_store import S3Store

        if parts.username and client is None:
            raise ConfigurationError(
                "The store's address names an Airflow connection, and no client was made from it",
                f"connection {parts.username!r}",
                "Open the store inside a task, or use an address without a connection.",
            )
        return S3Store(
            parts.hostname or "",
            parts.path.strip("/"),
            cache_dir=cache_dir,
            cache_bytes=COPIES_BYTES if cache_bytes is None else cache_bytes,
            client=client,
            check_conditional_writes=parts.query != "conditional_writes=assumed",
        )
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderStore(Path(unquote(parts.path)))
    if not parts.scheme and uri.startswith("/"):
        return FolderStore(Path(uri))
    raise ConfigurationError(
        "Not the address of an artifact store", repr(uri), "Use file:///absolute/path or s3://bucket/prefix."
    )
