import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_ml.adapters import s3_objects, s3_store, s3_trash
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.adapters.object_store import open_store
from airflow_ml.adapters.s3_store import S3Store
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import digest_bytes
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.store_keeping import StoreKeeper
from airflow_ml.errors import ArtifactCorrupt, ConfigurationError, RefConflict, StoreUnavailable
from airflow_ml.testing.contracts.artifact_store import ArtifactStoreContract, Tamper
from airflow_ml.testing.contracts.store_keeper import StoreKeeperContract, later


class TestMemoryStore(ArtifactStoreContract, StoreKeeperContract):
    @pytest.fixture
    def keeper(self, store: StoreKeeper) -> StoreKeeper:
        return store

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def tamper(self, store: MemoryStore) -> Tamper:
        return lambda artifact, data: store.blobs.__setitem__(artifact.digest, data)

    @pytest.fixture
    def racer_uri(self) -> None:
        return None


class TestFolderStore(ArtifactStoreContract, StoreKeeperContract):
    @pytest.fixture
    def keeper(self, store: StoreKeeper) -> StoreKeeper:
        return store

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
class TestS3Store(ArtifactStoreContract, StoreKeeperContract):
    @pytest.fixture
    def keeper(self, store: StoreKeeper) -> StoreKeeper:
        return store

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

    def test_a_store_that_is_away_says_so(self, s3_endpoint: str) -> None:
        options = Config(connect_timeout=1, retries={"total_max_attempts": 1})
        away = S3Store("b", "x", client=boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=options))
        asked: list[Callable[[], object]] = [
            lambda: away.latest("r"),
            lambda: list(away.refs()),
            lambda: list(away.history("r")),
            lambda: away.put_bytes(b"x", format="bytes"),
            lambda: away.get_bytes(Artifact(digest=digest_bytes(b"x"), format="bytes", size_bytes=1, uri="")),
        ]
        for ask in asked:
            with pytest.raises(StoreUnavailable, match=r"s3://b/x cannot be reached: .*127.0.0.1:9.*Check"):
                ask()

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

    def test_a_large_file_is_sent_in_parts_and_the_second_time_not_at_all(
        self, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_store, "SINGLE_BYTES", 1 << 20)
        monkeypatch.setattr(s3_objects, "_PART_BYTES", 5 << 20)
        client = _Client(boto3.client("s3"))
        store, file = S3Store(bucket, client=client, cache_dir=tmp_path / "cache"), tmp_path / "large"
        file.write_bytes(os.urandom(11 << 20))
        artifact = store.put_file(file, format="bytes")
        assert client.sent_bytes > 11 << 20
        before = client.sent_bytes
        assert store.put_file(file, format="bytes") == artifact
        assert client.sent_bytes == before
        assert store.path(artifact).read_bytes() == file.read_bytes()
        assert store.trash(artifact.digest, unchanged_since=later())
        assert store.put_file(file, format="bytes") == artifact
        store.verify(artifact.digest)
        uploads = boto3.client("s3").list_multipart_uploads(Bucket=bucket)
        assert not uploads.get("Uploads")

    def test_a_file_that_changes_while_it_is_sent_is_not_stored(self, bucket: str, tmp_path: Path) -> None:
        objects = s3_objects.Objects(boto3.client("s3"), bucket, f"s3://{bucket}")
        file = tmp_path / "log"
        file.write_bytes(b"other bytes than those that were hashed")
        with file.open("rb") as source, pytest.raises(ArtifactCorrupt, match="changed while"):
            objects.create_in_parts("key", source, 39, digest_bytes(b"what was hashed"))
        assert objects.head("key") is None

    def test_a_service_without_conditional_writes_is_refused_unless_told_otherwise(self, bucket: str) -> None:
        client = _Client(boto3.client("s3"), unconditional=True)
        with pytest.raises(ConfigurationError, match="no conditional writes"):
            S3Store(bucket, client=client).append("r", {"n": 1}, after=0)
        with pytest.raises(ConfigurationError, match="no conditional writes"):
            S3Store(bucket, client=client).put_bytes(b"x", format="bytes")
        assert S3Store(bucket, client=client, check_conditional_writes=False).append("r", {}, after=0).sequence == 1

    def test_an_old_blob_that_is_put_again_is_young(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        store = S3Store(bucket)
        artifact = store.put_bytes(b"content", format="bytes")
        (before,) = store.list_blobs()
        monkeypatch.setattr(s3_trash, "REFRESH_AFTER", timedelta(seconds=0))
        time.sleep(1.1)  # S3 counts in seconds
        assert store.put_bytes(b"content", format="bytes") == artifact
        (after,) = store.list_blobs()
        assert after.changed_at > before.changed_at
        store.verify(artifact.digest)

    def test_local_copies_stay_below_their_bound(self, bucket: str, tmp_path: Path) -> None:
        cache = tmp_path / "bounded"
        puts = [S3Store(bucket).put_bytes(bytes([number]) * 100_000, format="bytes") for number in range(6)]
        for artifact in puts:
            assert S3Store(bucket, cache_dir=cache, cache_bytes=250_000).path(artifact).stat().st_size == 100_000
        assert sum(path.stat().st_size for path in cache.iterdir()) <= 250_000
        store = S3Store(bucket, cache_dir=cache, cache_bytes=250_000)
        paths = [store.path(artifact) for artifact in puts]
        assert all(path.is_file() for path in paths), "whoever has the path may open it at any time"

    def test_a_blob_that_was_copied_in_parts_is_still_vouched_for(
        self, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = S3Store(bucket, cache_dir=tmp_path / "cache")
        data = os.urandom(9 << 20)  # the client copies what has 8 MiB or more in parts
        artifact = store.put_bytes(data, format="bytes")
        with monkeypatch.context() as patch:
            patch.setattr(s3_trash, "REFRESH_AFTER", timedelta(seconds=0))
            store.put_bytes(data, format="bytes")
        assert store.put_bytes(data, format="bytes") == artifact
        assert list((tmp_path / "cache").iterdir()) == [], "it was fetched to see whether it is sound"
        store.verify(artifact.digest)


class _Client:
    """A real client whose PUT is repeated as after a lost answer, answered 409, or ignores If-None-Match."""

    def __init__(
        self, client: Any, *, writes_twice: bool = False, conflicts: int = 0, unconditional: bool = False
    ) -> None:
        self._client = client
        self._unconditional = unconditional
        self.sent_bytes = 0
        self._writes_twice = writes_twice
        self._conflicts = conflicts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def upload_part(self, **request: Any) -> Any:
        self.sent_bytes += len(request["Body"])
        return self._client.upload_part(**request)

    def put_object(self, **request: Any) -> Any:
        body = request["Body"]
        self.sent_bytes += len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
        if self._unconditional:
            del request["IfNoneMatch"]
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
    with pytest.raises(ConfigurationError, match="not a folder"):
        open_store(str(folder / "file"))
