"""Whether the store can be used from here, and by what it says from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.compute import profile_from_dict
from airflow_ml.core.finding import MISSING, OK, UNKNOWN
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.store_reach import PROBE, examine_store

IMAGE = "registry.example.com/train@sha256:" + "0" * 64


ARRAY = profile_from_dict("b", {"kind": "batch", "batch": {"queue": "q", "job_definition": "d"}})


def cluster(**kubernetes: Any) -> Any:
    return profile_from_dict("k", {"kind": "kubernetes", "image": IMAGE, "kubernetes": kubernetes})


def test_a_folder_that_works_and_one_that_does_not(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/store"
    local = profile_from_dict("p", {})
    for entries in (1, 2):
        (only,) = examine_store(lambda: open_store(uri), local, uri=uri)
        assert only.state == OK
        assert len(list(open_store(uri).history(PROBE))) == entries

    def refuse() -> Any:
        raise ConfigurationError("No artifact store is given", "--store is empty", "Give --store.")

    (only,) = examine_store(refuse, local, uri="")
    assert (only.state, only.check) == (MISSING, "store from here")
    assert "--store is empty" in only.seen


def test_a_store_that_takes_an_entry_twice(tmp_path: Path) -> None:
    class Twice:
        def __init__(self) -> None:
            self.real = open_store(f"file://{tmp_path}/store")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def append(self, *_: Any, **__: Any) -> None: ...

    (only,) = examine_store(Twice, profile_from_dict("p", {}), uri="x")  # type: ignore[arg-type]
    assert (only.state, only.seen) == (MISSING, "x takes the same entry twice")


@pytest.mark.parametrize(
    ("profile", "uri", "state"),
    [
        (cluster(), "file:///mnt/store/ml", MISSING),
        (cluster(claims={"/mnt/store": "c"}), "file:///mnt/store/ml", OK),
        (cluster(claims={"/mnt/sto": "c"}), "file:///mnt/store/ml", MISSING),
        (cluster(), "s3://bucket", MISSING),
        (cluster(service_account="s"), "s3://bucket", UNKNOWN),
        (cluster(secrets={"AWS_SECRET_ACCESS_KEY": "aws/key"}), "s3://bucket", UNKNOWN),
        (ARRAY, "s3://b", UNKNOWN),
        (
            ARRAY,
            "file:///x",
            MISSING,
        ),
    ],
)
def test_elsewhere(profile: Any, uri: str, state: str, tmp_path: Path) -> None:
    _, there = examine_store(lambda: open_store(f"file://{tmp_path}/store"), profile, uri=uri)
    assert there.state == state
