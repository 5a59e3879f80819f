"""The environment is described once for as long as nothing is installed, and never from a file of somebody else's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_ml.core.record import JSON
from airflow_ml.runtime.environment_cache import cached_description


@pytest.fixture
def calls() -> list[int]:
    return []


@pytest.fixture
def describe(calls: list[int]) -> Callable[[], dict[str, JSON]]:
    def one() -> dict[str, JSON]:
        calls.append(1)
        return {"python": "3.11", "distributions": {"a": str(len(calls))}}

    return one


def test_described_once(describe: Callable[[], dict[str, JSON]], calls: list[int], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert cached_description(describe, folder=folder) == cached_description(describe, folder=folder)
    assert len(calls) == 1


def test_an_installation_is_noticed(
    describe: Callable[[], dict[str, JSON]], calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, packages = tmp_path / "cache", tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    cached_description(describe, folder=folder)
    (packages / "new-1.0.dist-info").mkdir()
    assert cached_description(describe, folder=folder)["distributions"] == {"a": "2"}


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"description": {"python": "9"}, "digest": "sha256:0"}'])
def test_a_damaged_file_is_made_anew(
    describe: Callable[[], dict[str, JSON]], calls: list[int], tmp_path: Path, damage: bytes
) -> None:
    folder = tmp_path / "cache"
    cached_description(describe, folder=folder)
    (file,) = folder.iterdir()
    file.write_bytes(damage)
    assert cached_description(describe, folder=folder)["distributions"] == {"a": "2"}
    assert cached_description(describe, folder=folder)["distributions"] == {"a": "2"}


@pytest.mark.parametrize("kind", ["writable", "link"])
def test_a_folder_of_others_is_not_used(
    describe: Callable[[], dict[str, JSON]], calls: list[int], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "cache"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        os.chmod(folder, 0o777)
    for _ in range(2):
        cached_description(describe, folder=folder)
    assert len(calls) == 2
    assert list(folder.iterdir()) == []
