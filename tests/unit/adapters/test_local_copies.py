"""Copies of blobs stay below a bound, and none goes that somebody uses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from airflow_ml.adapters.local_copies import LocalCopies


def put(copies: LocalCopies, name: str, *, size: int = 100, used_seconds_ago: float) -> None:
    (copies.folder / name).write_bytes(b"x" * size)
    used = time.time() - used_seconds_ago
    os.utime(copies.folder / name, (used, used))


def names(copies: LocalCopies) -> set[str]:
    return {path.name for path in copies.folder.iterdir()}


@pytest.fixture
def copies(tmp_path: Path) -> LocalCopies:
    return LocalCopies(tmp_path / "copies", limit_bytes=1000)


def test_what_was_not_used_for_longest_goes(copies: LocalCopies) -> None:
    for number in range(12):
        put(copies, f"c{number:02d}", used_seconds_ago=100 - number)
    assert copies.hold("c00")  # used now
    copies.trim()
    assert names(copies) == {"c00", *(f"c{number:02d}" for number in range(4, 12))}


def test_below_the_bound_nothing_goes(copies: LocalCopies) -> None:
    for number in range(10):
        put(copies, f"c{number}", used_seconds_ago=number)
    copies.trim()
    assert len(names(copies)) == 10


def test_what_another_process_uses_stays(copies: LocalCopies) -> None:
    put(copies, "theirs", size=900, used_seconds_ago=1000)
    put(copies, "nobodys", size=900, used_seconds_ago=10)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        theirs = LocalCopies(copies.folder)
        theirs.hold("theirs")
        os.utime(copies.folder / "theirs", (0, 0))
        os.write(ready[1], b"1")
        os.read(done[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        copies.trim()
        assert names(copies) == {"theirs"}
    finally:
        os.write(done[1], b"1")
        os.waitpid(child, 0)
    put(copies, "more", size=900, used_seconds_ago=0)
    copies.trim()
    assert names(copies) == {"more"}, "it is not used any more"


def test_a_download_under_way_stays_and_an_abandoned_one_goes(copies: LocalCopies) -> None:
    put(copies, ".c.new", size=900, used_seconds_ago=60)
    put(copies, ".c.old", size=900, used_seconds_ago=200_000)
    copies.trim()
    assert names(copies) == {".c.new"}


def test_only_the_last_ones_are_held(copies: LocalCopies) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(80):
        put(copies, f"c{number:02d}", size=20, used_seconds_ago=1000)
        assert copies.hold(f"c{number:02d}")
        assert copies.hold(f"c{number:02d}")
    assert len(os.listdir("/proc/self/fd")) - before == 64
    assert not copies.hold("absent")
    copies.trim()
    assert "c79" in names(copies)
    assert len(names(copies)) < 80
