"""The contract of the far side: variables, indexes, and the program that fetches the runtime."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core import far_side
from airflow_ml.core.artifact import Artifact, check_ref
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.job import JobRequest
from airflow_ml.core.record import parse
from airflow_ml.errors import ConfigurationError


def a_request(store: str, runtime: Artifact, *, calls_per_index: int = 1) -> JobRequest:
    return JobRequest(
        key="sha256:" + "a" * 64,
        epoch=3,
        work=Artifact(digest="sha256:" + "b" * 64, format="jsonl", size_bytes=1, uri=""),
        calls=7,
        runtime=runtime,
        store_uri=store,
        profile=ComputeProfile(name="far", kind="kubernetes", calls_per_index=calls_per_index),
        python="3.12",
        machine="x86_64",
    )


def a_runtime(main: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("airflow_ml/__init__.py", "")
        archive.writestr("airflow_ml/runtime/__init__.py", "")
        archive.writestr("airflow_ml/runtime/far_side.py", main)
    return data.getvalue()


def run(variables: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the program in a bare interpreter: no site-packages, an empty folder."""
    python, *arguments = far_side.command(sys.executable)
    return subprocess.run(
        [python, "-I", "-S", *arguments],
        env={"TMPDIR": str(folder), "PATH": os.defpath, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_variables_say_all_that_an_index_needs(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    request = a_request(store.uri, store.put_bytes(b"zip", format="zip"), calls_per_index=5)
    found = far_side.environment(request)
    assert found == {
        "AIRFLOW_ML_STORE": store.uri,
        "AIRFLOW_ML_RUNTIME": request.runtime.digest,
        "AIRFLOW_ML_WORK": request.work.digest,
        "AIRFLOW_ML_JOB": request.key,
        "AIRFLOW_ML_EPOCH": "3",
        "AIRFLOW_ML_CALLS_PER_INDEX": "5",
        "AIRFLOW_ML_PYTHON": "3.12",
        "AIRFLOW_ML_MACHINE": "x86_64",
    }
    assert far_side.environment(request, first_index=10_000)["AIRFLOW_ML_FIRST_INDEX"] == "10000"


@given(child=st.integers(0, 10**6), first=st.integers(0, 10**6), name=st.sampled_from(far_side.INDEX_VARIABLES))
def test_the_index_is_the_child_behind_the_first_one(child: int, first: int, name: str) -> None:
    assert far_side.index_of({name: str(child), far_side.FIRST_INDEX: str(first)}) == first + child
    assert far_side.index_of({far_side.FIRST_INDEX: str(first)}) == first


@pytest.mark.parametrize("text", ["-1", "one", "1.5", "٣", " 1"])
def test_what_is_no_index_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a number"):
        far_side.index_of({"JOB_COMPLETION_INDEX": text})


@given(key=st.text(max_size=300), epoch=st.integers(1, 10**6), index=st.integers(0, 99_999))
def test_every_result_has_a_place_of_its_own(key: str, epoch: int, index: int) -> None:
    ref = far_side.index_ref(key, epoch, index)
    assert check_ref(ref).startswith(far_side.job_ref(key) + "/")
    assert ref != far_side.index_ref(key + "x", epoch, index) != far_side.index_ref(key + "x", epoch + 1, index)


def test_an_index_result_comes_back() -> None:
    result = far_side.IndexResult(job="k", epoch=1, index=2, calls=1, succeeded=1, results=({"record": "CallResult"},))
    assert parse(result.to_dict()) == result


def test_the_program_runs_the_runtime_from_the_store(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "a store")  # the space is %20 in the address
    runtime = store.put_bytes(a_runtime("def main():\n    print('it runs')\n    return 75\n"), format="zip")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ended = run(far_side.environment(a_request(store.uri, runtime)), scratch)
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, "it runs\n", "")
    assert list(scratch.iterdir()) == []  # nothing is left


def test_a_missing_or_damaged_runtime_is_not_run(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    runtime = store.put_bytes(a_runtime("def main():\n    print('it runs')\n    return 0\n"), format="zip")
    blob = store.path(runtime)
    blob.chmod(0o644)
    blob.write_bytes(a_runtime("def main():\n    print('something else')\n    return 0\n"))
    variables = far_side.environment(a_request(store.uri, runtime))
    ended = run(variables, scratch)
    assert ended.returncode == far_side.TRY_AGAIN
    assert ended.stdout == ""
    assert hashlib.sha256(blob.read_bytes()).hexdigest() in ended.stderr
    assert runtime.digest[7:] in ended.stderr
    blob.unlink()
    ended = run(variables, scratch)
    assert ended.returncode == far_side.TRY_AGAIN
    assert "FileNotFoundError" in ended.stderr
    assert list(scratch.iterdir()) == []


def test_a_store_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    ended = run({"AIRFLOW_ML_STORE": "ftp://host/x", "AIRFLOW_ML_RUNTIME": "sha256:" + "0" * 64}, tmp_path)
    assert ended.returncode == far_side.BAD_INPUT
    assert "no store of that kind: ftp://host/x" in ended.stderr
    ended = run({"AIRFLOW_ML_STORE": "s3://bucket/x", "AIRFLOW_ML_RUNTIME": "sha256:" + "0" * 64}, tmp_path)
    assert ended.returncode == far_side.WRONG_PLATFORM
    assert "No module named 'boto3'" in ended.stderr
