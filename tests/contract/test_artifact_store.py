import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.adapters.object_store import open_store
from airflow_ml.adapters.s3_store import S3Store
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ArtifactCorrupt, ConfigurationError, RefConflict
from airflow_ml.testing.contracts.artifact_store import ArtifactStoreContract, Tamper


class TestMemoryStore(ArtifactStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def tamper(self, store: MemoryStore) -> Tamper:
        return lambda artifact, data: store.blobs.__setitem__(artifact.digest, data)

    @pytest.fixture
    def racer_uri(self) -> None:
        return None


class TestFolderStore(ArtifactStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FolderStore:
        return FolderStore(tmp_path / "a store, with spaces % and ü")

    @pytest.fixture
    def tamper(self, store: FolderStore) -> Tamper:
        def overwrite(artifact: Artifact, data: bytes) -> None:
            name = artifact.digest.removeprefix("sha256:")
            (blob,) = (Path(store._root) / "blobs").rglob(name[2:])
            blob.chmod(0o644)
            blob.write_bytes(data)

        return overwrite

    @pytest.fixture
    def racer_uri(self, store: FolderStore) -> str:
        return store.uri

    def test_a_blob_that_is_a_link_is_refused_and_its_target_untouched(
        self, store: FolderStore, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"data")
        artifact = store.put_bytes(b"data", format="bytes")
        blob = store.path(artifact)
        blob.unlink()
        blob.symlink_to(secret)
        with pytest.raises(ArtifactCorrupt):
            FolderStore(store._root).get_bytes(artifact)
        assert secret.read_bytes() == b"data"
        assert store.put_bytes(b"data", format="bytes") == artifact
        assert not store.path(artifact).is_symlink()

    def test_a_ref_folder_that_leads_outside_is_refused(self, store: FolderStore, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (store._root / "refs" / "a").symlink_to(outside)
        with pytest.raises(ConfigurationError, match="leads outside"):
            store.append("a/b", {}, after=0)
        assert list(outside.rglob("*.json")) == []

    def test_a_damaged_entry_is_corrupt(self, store: FolderStore) -> None:
        store.append("r", {"n": 1}, after=0)
        (entry,) = (store._root / "refs" / "r").iterdir()
        entry.chmod(0o644)
        entry.write_bytes(entry.read_bytes().replace(b'{"n":1}', b'{"n":2}'))
        with pytest.raises(ArtifactCorrupt, match="Entry 1 of ref 'r'"):
            store.latest("r")

    def test_what_a_crash_left_is_removed_after_a_day_and_not_before(self, store: FolderStore) -> None:
        old, young = store._root / "tmp" / "old", store._root / "tmp" / "young"
        for leftover in (old, young):
            leftover.write_bytes(b"half a blo")
        os.utime(old, (time.time() - 90_000,) * 2)
        FolderStore(store._root)
        assert not old.exists()
        assert young.exists()
        assert list(store.refs()) == []

    def test_no_temporary_file_stays(self, store: FolderStore) -> None:
        store.put_bytes(b"data", format="bytes")
        store.append("r", {}, after=0)
        with pytest.raises(RefConflict):
            store.append("r", {}, after=0)
        assert list((store._root / "tmp").iterdir()) == []


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.integration
class TestS3Store(ArtifactStoreContract):
    @pytest.fixture
    def bucket(self, s3_endpoint: str) -> str:
        name = f"bucket-{uuid.uuid4().hex}"
        boto3.client("s3").create_bucket(Bucket=name)
        return name

    @pytest.fixture
    def racer_uri(self, bucket: str) -> str:
        return f"s3://{bucket}/team/ml"

    @pytest.fixture
    def store(self, racer_uri: str, tmp_path: Path) -> ArtifactStore:
        return open_store(racer_uri, cache_dir=tmp_path / "cache")

    @pytest.fixture
    def tamper(self, bucket: str, tmp_path: Path) -> Tamper:
        def overwrite(artifact: Artifact, data: bytes) -> None:
            for copy in (tmp_path / "cache").iterdir():  # a sound local copy rightly hides what happens to the bucket
                copy.unlink()
            boto3.client("s3").put_object(Bucket=bucket, Key=artifact.uri.removeprefix(f"s3://{bucket}/"), Body=data)

        return overwrite

    def test_a_damaged_local_copy_is_fetched_again(self, store: ArtifactStore) -> None:
        artifact = store.put_bytes(b"the content", format="bytes")
        local = store.path(artifact)
        local.chmod(0o644)
        local.write_bytes(b"the c0ntent")
        assert store.path(artifact).read_bytes() == b"the content"
        assert store.get_bytes(artifact) == b"the content"

    def test_a_missing_bucket_says_so(self, s3_endpoint: str, tmp_path: Path) -> None:
        store = open_store("s3://no-such-bucket-here", cache_dir=tmp_path)
        with pytest.raises(ConfigurationError, match="NoSuchBucket"):
            store.put_bytes(b"x", format="bytes")

    def test_a_write_whose_answer_was_lost_is_still_ours(self, bucket: str) -> None:
        store = S3Store(bucket, client=_Client(boto3.client("s3"), writes_twice=True))
        assert store.append("r", {"n": 1}, after=0).sequence == 1
        with pytest.raises(RefConflict):
            store.append("r", {"n": 2}, after=0)
        assert [entry.value["n"] for entry in store.history("r")] == [1]
        artifact = store.put_bytes(b"data", format="bytes")
        assert store.get_bytes(artifact) == b"data"

    def test_a_race_that_s3_did_not_decide_is_run_again(self, bucket: str) -> None:
        store = S3Store(bucket, client=_Client(boto3.client("s3"), conflicts=3))
        assert store.append("r", {"n": 1}, after=0).sequence == 1
        assert store.latest("r") is not None


class _Client:
    """A real client whose PUT is repeated as after a lost answer, or answered 409 a few times."""

    def __init__(self, client: Any, *, writes_twice: bool = False, conflicts: int = 0) -> None:
        self._client = client
        self._writes_twice = writes_twice
        self._conflicts = conflicts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **request: Any) -> Any:
        if self._conflicts:
            self._conflicts -= 1
            code = {"Code": "ConditionalRequestConflict", "Message": "try again"}
            raise ClientError({"Error": code, "ResponseMetadata": {"HTTPStatusCode": 409}}, "PutObject")  # type: ignore[typeddict-item, unused-ignore]
        if self._writes_twice:
            self._client.put_object(**request)
        return self._client.put_object(**request)


@pytest.mark.parametrize(
    "uri", ["", "relative/path", "ftp://x", "file://otherhost/x", "s3://", "s3:///x", "s3://aws_default@bucket/x"]
)
def test_addresses_that_cannot_be_opened_are_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(uri)


def test_a_folder_is_opened_by_address_or_path(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    artifact = open_store(str(folder)).put_bytes(b"x", format="bytes")
    assert open_store(folder.as_uri()).get_bytes(artifact) == b"x"
    (folder / "file").touch()
    with pytest.raises(ConfigurationError, match="no folder"):
        open_store(str(folder / "file"))
