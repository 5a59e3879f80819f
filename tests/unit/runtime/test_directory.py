"""A folder goes in and the same folder comes out; nothing leads outside of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, NoCodec
from airflow_ml.runtime.codecs import load_value, store_value
from airflow_ml.runtime.directory import get_directory, inner_artifacts, put_directory
from airflow_ml.runtime.store_gc import reachable


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model é"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "data" / "weights.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "data" / "deep" / "zero").touch()
    (folder / "data" / "twin.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def listing(folder: Path) -> dict[str, tuple[bytes, bool] | None]:
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
    }


def test_a_folder_comes_back(store: FolderStore, model: Path) -> None:
    artifact = store_value(model, store, name="model")
    loaded = load_value(artifact, store)
    assert listing(loaded) == listing(model)
    assert loaded.name == "model é"
    assert artifact.format == "directory"
    assert dict(artifact.metadata) == {"name": "model", "file_name": "model é", "files": "5", "bytes": "51221"}
    assert store_value(model, store, name="model") == artifact


def test_equal_files_are_stored_once(store: FolderStore, model: Path) -> None:
    put_directory(model, store)
    assert sum(blob.size_bytes == 25600 for blob in store.list_blobs()) == 1


def test_what_a_reader_does_to_its_copy_harms_nobody(store: FolderStore, model: Path) -> None:
    artifact = put_directory(model, store)
    (get_directory(artifact, store) / "MLmodel").write_text("changed")
    assert (get_directory(artifact, store) / "MLmodel").read_text() == "flavors: {}"


def test_a_folder_of_ones_choice(store: FolderStore, model: Path, tmp_path: Path) -> None:
    artifact = put_directory(model, store)
    assert listing(get_directory(artifact, store, into=tmp_path / "mine")) == listing(model)
    with pytest.raises(FileExistsError):
        get_directory(artifact, store, into=tmp_path / "mine")


def test_its_files_are_reachable_through_the_manifest(store: FolderStore, model: Path) -> None:
    artifact = put_directory(model, store)
    store.append("kept", artifact.to_dict(), after=0)
    assert {blob.digest for blob in store.list_blobs()} <= reachable(store).digests


def test_a_missing_file_is_missing(store: FolderStore, model: Path) -> None:
    artifact = put_directory(model, store)
    manifest = json.loads(store.get_bytes(artifact))
    victim = next(item for item in manifest["files"] if item["path"] == "MLmodel")
    store.path(Artifact(digest=victim["digest"], format="file", size_bytes=0, uri="")).unlink()
    with pytest.raises(ArtifactNotFound):
        get_directory(artifact, store)


@pytest.mark.parametrize("make", ["link", "dangling", "pipe"])
def test_links_and_special_files_are_refused(store: FolderStore, model: Path, make: str) -> None:
    if make == "pipe":
        os.mkfifo(model / "odd")
    else:
        (model / "odd").symlink_to(model / ("MLmodel" if make == "link" else "nowhere"))
    with pytest.raises(NoCodec, match="odd"):
        put_directory(model, store)


def test_names_that_look_alike_are_refused(store: FolderStore, tmp_path: Path) -> None:
    folder = tmp_path / "twins"
    folder.mkdir()
    (folder / "caf\u00e9").touch()
    (folder / "cafe\u0301").touch()
    with pytest.raises(NoCodec, match="caf"):
        put_directory(folder, store)


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../out", "", ".", "a//b", "a\x00b", "a\\..\\b", 5])
def test_a_manifest_leads_nowhere_else(store: FolderStore, name: object, tmp_path: Path) -> None:
    blob = store.put_bytes(b"x", format="file")
    for manifest in (
        {"files": [{"path": name, "digest": blob.digest, "size_bytes": 1}], "folders": []},
        {"files": [], "folders": [name]},
    ):
        artifact = store.put_bytes(canonical_json(manifest), format="directory")  # type: ignore[arg-type]
        with pytest.raises(ArtifactCorrupt):
            get_directory(artifact, store, into=tmp_path / f"into{len(manifest['folders'])}" / "deep")
    assert not (tmp_path / "out").exists()


@settings(max_examples=25, deadline=None)
@given(files=st.dictionaries(st.text("ab/.é", min_size=1, max_size=6), st.binary(max_size=20), max_size=8))
def test_any_tree_comes_back(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, store = tmp_path_factory.mktemp("tree"), MemoryStore()
    for name, data in files.items():
        path = folder / name.strip("/.")
        if path != folder and ".." not in path.parts and path.resolve().is_relative_to(folder.resolve()):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue
    assert listing(get_directory(put_directory(folder, store), store)) == listing(folder)


@pytest.mark.long
def test_ten_thousand_files(store: FolderStore, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for number in range(100):
        (folder / str(number)).mkdir(parents=True)
        for inner in range(100):
            (folder / str(number) / str(inner)).write_text(f"{number} {inner}")
    artifact = put_directory(folder, store)
    assert artifact.metadata["files"] == "10000"
    assert listing(get_directory(artifact, store)) == listing(folder)


def test_a_folder_that_cannot_be_filled_leaves_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    (source / "b").write_text("b")
    folder = put_directory(source, store)
    del store.blobs[inner_artifacts(folder, store)[1].digest]
    into = tmp_path / "deep" / "into"
    with pytest.raises(ArtifactNotFound):
        get_directory(folder, store, into=into)
    assert list(into.parent.iterdir()) == []
