"""A store in a folder where the machine, not the store, has a fault: nothing is taken for damage that is none."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import ConfigurationError, StoreUnavailable


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_blob_that_cannot_be_opened_for_now_is_not_taken_for_a_damaged_one(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    artifact = store.put_bytes(b"sound", format="bytes")

    def refuse(*args: Any, **kwargs: Any) -> int:
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(fault)):
            store.get_bytes(artifact)
    assert store.get_bytes(artifact) == b"sound"
    assert list((store._root / "bad").iterdir()) == []


def test_a_leftover_that_cannot_be_removed_does_not_close_the_store(store: FolderStore) -> None:
    leftover = store._root / "tmp" / "not-ours"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    assert FolderStore(store._root).put_bytes(b"x", format="bytes").size_bytes == 1


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be made: .*/proc/none.*may write"):
        FolderStore(Path("/proc/none"))


def test_an_entry_whose_link_was_made_though_the_server_says_it_exists_is_ours(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def answered_twice(source: Any, target: Any) -> None:
        link(source, target)
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", answered_twice)
        assert store.append("r", {"n": 1}, after=0).sequence == 1
    assert [entry.value for entry in store.history("r")] == [{"n": 1}]


def test_a_folder_that_is_gone_is_no_empty_store(tmp_path: Path) -> None:
    """What is no longer mounted holds nothing, which says nothing about the store, and nothing is begun anew in it."""
    place = tmp_path / "mount"
    store = FolderStore(place)
    store.append("rollouts/prod/m", {"epoch": 1}, after=0)
    assert store.latest("rollouts/prod/other") is None
    place.rename(tmp_path / "elsewhere")
    place.mkdir()
    for ask in (
        lambda: store.latest("rollouts/prod/m"),
        lambda: list(store.history("rollouts/prod/m")),
        lambda: list(store.refs("rollouts")),
        lambda: store.append("rollouts/prod/m", {"epoch": 1}, after=0),
    ):
        with pytest.raises(StoreUnavailable, match="gone"):
            ask()
    place.rmdir()
    (tmp_path / "elsewhere").rename(place)
    assert store.latest("rollouts/prod/m") is not None
