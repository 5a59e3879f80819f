from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_ml.core.ports import Traffic
from airflow_ml.errors import ConfigurationError
from airflow_ml.gateway.traffic_file import TrafficFiles, write_durably
from airflow_ml.gateway.wire import traffic_from_wire

MODELS = {
    "record": "Artifact",
    "schema": 1,
    "digest": f"sha256:{'a' * 64}",
    "format": "json",
    "size_bytes": 2,
    "uri": "",
}
VARIANT = {"version": "1", "models": MODELS, "view_digest": "sha256:v"}


@pytest.fixture
def traffic() -> Traffic:
    return traffic_from_wire(
        {"model": "a", "epoch": 1, "champion": VARIANT, "weight_percent": 0, "expires_at": None, "salt": "s"}
    )


def test_what_was_written_is_read_again(tmp_path: Path, traffic: Traffic) -> None:
    files = TrafficFiles(tmp_path)
    files.write(traffic)
    files.write(replace(traffic, epoch=2))
    files.write(replace(traffic, model="b"))
    assert list(TrafficFiles(tmp_path).read_all()) == [replace(traffic, epoch=2), replace(traffic, model="b")]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, "old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        write_durably(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"model": "a"})])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    files = TrafficFiles(tmp_path)
    (tmp_path / "traffic" / "flights.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"flights\.json"):
        list(files.read_all())


def test_a_write_that_a_crash_cut_short_is_not_read(tmp_path: Path, traffic: Traffic) -> None:
    files = TrafficFiles(tmp_path)
    files.write(traffic)
    (tmp_path / "traffic" / ".abc.part").write_text("{", encoding="utf-8")
    assert list(files.read_all()) == [traffic]


def test_changes_are_kept_in_order(tmp_path: Path, traffic: Traffic) -> None:
    files, at = TrafficFiles(tmp_path), datetime(2026, 1, 1, tzinfo=UTC)
    assert files.changes("a") == []
    split = replace(traffic, epoch=2, challenger={**VARIANT, "version": "2"}, weight_percent=5.0, expires_at=at)
    for one in (traffic, split):
        files.note(one, at)
    first, second = TrafficFiles(tmp_path).changes("a")
    assert (first["epoch"], first["challenger"], first["expires_at"]) == (1, None, None)
    assert (second["epoch"], second["champion"], second["challenger"]) == (2, "1", "2")
    assert (second["weight_percent"], second["expires_at"], second["at"]) == (5.0, *["2026-01-01T00:00:00Z"] * 2)
