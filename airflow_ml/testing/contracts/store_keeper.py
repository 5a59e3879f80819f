"""What every ``core.store_keeping.StoreKeeper`` must do: subclass ``StoreKeeperContract`` and override its fixture."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import digest_bytes
from airflow_ml.core.store_keeping import StoreKeeper
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, InvalidKey
from airflow_ml.testing.contracts.artifact_store import Tamper

ABSENT = digest_bytes(b"never put")


def later() -> datetime:
    """Return a time after everything that was written so far."""
    return datetime.now(UTC) + timedelta(hours=1)


def earlier() -> datetime:
    """Return a time before anything was written."""
    return datetime.now(UTC) - timedelta(hours=1)


class StoreKeeperContract:
    """The tests."""

    @pytest.fixture
    def keeper(self) -> StoreKeeper:
        """An empty store."""
        raise NotImplementedError

    @pytest.fixture
    def tamper(self) -> Tamper:
        """Damages a blob where the store keeps it."""
        raise NotImplementedError

    def test_all_blobs_are_listed_with_size_and_time(self, keeper: StoreKeeper) -> None:
        put = [keeper.put_bytes(bytes([number]) * number, format="bytes") for number in range(40)]
        listed = {blob.digest: blob for blob in keeper.list_blobs()}
        assert {digest: blob.size_bytes for digest, blob in listed.items()} == {
            one.digest: one.size_bytes for one in put
        }
        assert all(earlier() < blob.changed_at < later() for blob in listed.values())
        by_prefix = [blob.digest for digit in "0123456789abcdef" for blob in keeper.list_blobs(digit)]
        assert sorted(by_prefix) == sorted(listed)
        whole = put[7].digest.removeprefix("sha256:")
        for length in (2, 3, 64):
            assert put[7].digest in {blob.digest for blob in keeper.list_blobs(whole[:length])}
        assert [blob.digest for blob in keeper.list_blobs(whole)] == [put[7].digest]

    def test_a_sound_blob_is_verified_and_an_absent_one_not_found(self, keeper: StoreKeeper) -> None:
        keeper.verify(keeper.put_bytes(b"content", format="bytes").digest)
        with pytest.raises(ArtifactNotFound):
            keeper.verify(ABSENT)

    def test_what_rots_after_it_was_read_is_found_by_a_check(self, keeper: StoreKeeper, tamper: Tamper) -> None:
        artifact = keeper.put_bytes(b"the content", format="bytes")
        assert keeper.get_bytes(artifact) == b"the content"
        tamper(artifact, b"the c0ntent")
        with pytest.raises(ArtifactCorrupt, match=artifact.digest):
            keeper.verify(artifact.digest)
        with pytest.raises(ArtifactNotFound):
            keeper.verify(artifact.digest)

    def test_an_old_blob_goes_to_the_trash_and_comes_back(self, keeper: StoreKeeper) -> None:
        artifact = keeper.put_bytes(b"content", format="bytes")
        assert keeper.trash(artifact.digest, unchanged_since=later())
        assert keeper.trash(artifact.digest, unchanged_since=later()), "once more changes nothing"
        assert list(keeper.list_blobs()) == []
        (lying,) = keeper.list_trash()
        assert (lying.digest, lying.size_bytes) == (artifact.digest, 7)
        assert earlier() < lying.changed_at < later()
        assert keeper.restore(artifact.digest)
        assert keeper.restore(artifact.digest), "once more changes nothing"
        assert list(keeper.list_trash()) == []
        assert keeper.get_bytes(artifact) == b"content"

    def test_a_young_blob_stays(self, keeper: StoreKeeper) -> None:
        artifact = keeper.put_bytes(b"content", format="bytes")
        assert not keeper.trash(artifact.digest, unchanged_since=earlier())
        assert list(keeper.list_trash()) == []
        assert keeper.get_bytes(artifact) == b"content"

    @pytest.mark.parametrize("read", ["bytes", "path"])
    def test_a_read_brings_it_back(self, keeper: StoreKeeper, read: str) -> None:
        artifact = keeper.put_bytes(b"content", format="bytes")
        keeper.trash(artifact.digest, unchanged_since=later())
        found = keeper.get_bytes(artifact) if read == "bytes" else keeper.path(artifact).read_bytes()
        assert found == b"content"

    def test_a_put_brings_it_back(self, keeper: StoreKeeper) -> None:
        artifact = keeper.put_bytes(b"content", format="bytes")
        keeper.trash(artifact.digest, unchanged_since=later())
        assert keeper.put_bytes(b"content", format="bytes") == artifact
        keeper.destroy(artifact.digest)
        assert keeper.get_bytes(artifact) == b"content"

    def test_what_is_destroyed_is_gone(self, keeper: StoreKeeper) -> None:
        artifact = keeper.put_bytes(b"content", format="bytes")
        keeper.destroy(artifact.digest)
        assert [blob.digest for blob in keeper.list_blobs()] == [artifact.digest], "only the trash is emptied"
        keeper.trash(artifact.digest, unchanged_since=later())
        keeper.destroy(artifact.digest)
        keeper.destroy(artifact.digest)
        assert list(keeper.list_trash()) == []
        assert not keeper.restore(artifact.digest)
        with pytest.raises(ArtifactNotFound):
            keeper.get_bytes(artifact)

    def test_what_is_nowhere_is_neither_trashed_nor_restored(self, keeper: StoreKeeper) -> None:
        assert not keeper.trash(ABSENT, unchanged_since=later())
        assert not keeper.restore(ABSENT)
        with pytest.raises(ArtifactNotFound):
            keeper.path(Artifact(digest=ABSENT, format="bytes", size_bytes=9, uri=""))

    @pytest.mark.parametrize("digest", ["", "sha256:../../etc/passwd", "sha256:" + "A" * 64])
    def test_a_digest_that_is_none_is_refused(self, keeper: StoreKeeper, digest: str) -> None:
        for act in (keeper.restore, keeper.destroy, lambda text: keeper.trash(text, unchanged_since=later())):
            with pytest.raises(InvalidKey):
                act(digest)
