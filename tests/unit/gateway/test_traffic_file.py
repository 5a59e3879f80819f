from __future__ import annotations

import json
import os
from dataclasses import replace
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
