"""The interface for maintaining an artifact store: list blobs, and move unreachable ones to a trash and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON

#: Formats whose bytes hold rows, numbers or pictures, never the digest of another blob that must stay.
LEAF_FORMATS = frozenset({"parquet", "npy", "skops", "safetensors", "svg", "png"})
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob as the store keeps it."""

    digest: str
    size_bytes: int
    #: When it was written, or last asked to be written.
    changed_at: datetime


class StoreKeeper(ArtifactStore, Protocol):
    """An artifact store that can be looked after: what `fsck` and `gc` need beyond reading and writing.

    A blob that is put aside is not gone: it lies in the store's trash, a read or a put of the same content brings it
    back, and only `destroy` ends it.
    """

    def list_blobs(self, prefix: str = "") -> Iterator[Blob]:
        """Yield the blobs whose hex digits begin so, in no particular order."""

    def verify(self, digest: str) -> None:
        """Read the bytes where the store keeps them, whatever was verified or copied before.

        Raises:
            ArtifactNotFound: no blob with that digest.
            ArtifactCorrupt: the bytes are not what the digest says; the blob is set aside.
        """

    def list_trash(self) -> Iterator[Blob]:
        """Yield what lies in the trash; ``changed_at`` is when it was put there."""

    def trash(self, digest: str, *, unchanged_since: datetime) -> bool:
        """Put a blob into the trash, unless it was written or asked for again since; tell whether it is there now."""

    def restore(self, digest: str) -> bool:
        """Bring a blob back from the trash; False where it is not there."""

    def destroy(self, digest: str) -> None:
        """Remove a blob from the trash for good; nothing happens where it is not there."""


def digests_in(value: JSON | Mapping[str, JSON]) -> Iterator[tuple[str, str]]:
    """Yield ``(digest, format)`` of all that a JSON value names, at any depth; the format is empty where the digest
    stands alone."""
    if isinstance(value, str):
        for match in _DIGEST.finditer(value.encode()):
            yield match.group().decode(), ""
    elif isinstance(value, Mapping):
        if value.get("record") == Artifact.__name__ and isinstance(value.get("digest"), str):
            yield str(value["digest"]), str(value.get("format", ""))
            value = {key: item for key, item in value.items() if key != "digest"}
        for name, item in value.items():
            yield from digests_in(name)
            yield from digests_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from digests_in(item)


def digests_in_bytes(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the digests that stand in a text, wherever its chunks are cut."""
    tail = b""
    for chunk in chunks:
        window = tail + chunk
        tail = window[-71:]  # a digest has 71 bytes: one that ends the window may be longer than it looks
        for match in _DIGEST.finditer(window):
            yield match.group().decode()
