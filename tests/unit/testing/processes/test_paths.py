from __future__ import annotations

from pathlib import Path

import pytest

from airflow_ml.testing.processes.paths import Paths


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("/data/x.csv", "/host/data/x.csv"),
        ("--path=/data", "--path=/host/data"),
        ("file:///data/x", "file:///host/data/x"),
        ("a:/data/b:/data", "a:/host/data/b:/host/data"),
        ("/database", "/database"),
        ("/other/data/x", "/other/data/x"),
        ("s3://bucket/data/x", "s3://bucket/data/x"),
        ("/data/deep/x", "/host/deep/x"),
        ("/same/x", "/same/x"),
        ("/tmp/x", "/tmp/x"),
    ],
)
def test_paths_below_a_mount_are_rewritten_and_no_others(text: str, here: str) -> None:
    mounts = [
        ("/data", Path("/host/data")),
        ("/data/deep", Path("/host/deep")),
        ("/same", Path("/same")),
        ("/tmp", Path("/host/tmp")),
    ]
    paths = Paths(mounts)
    assert paths.rewrite(text) == here
    assert paths.temporary == Path("/host/tmp")
