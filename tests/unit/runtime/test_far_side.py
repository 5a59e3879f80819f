"""One index far from Airflow: the program given to a container, run by an interpreter without airflow."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import function_of, plan_of

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.object_store import open_store
from airflow_ml.core import far_side
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.far_side import IndexResult
from airflow_ml.core.job import JobRequest
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import parse_as
from airflow_ml.core.shards import shard_ref
from airflow_ml.errors import WrongPlatform
from airflow_ml.runtime.call import CallJob, call_ref
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.far_side import _check_platform
from airflow_ml.runtime.ledger import results_of
from airflow_ml.runtime.sweep_plan import shard_job
from airflow_ml.runtime.work import store_work
from airflow_ml.runtime.zipapp import store_runtime

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
TEXT = """
def work(number, folder=None):
    import importlib.util, os, time
    if folder is not None:
        path = os.path.join(folder, f"ran-{number}")
        with open(path, "a") as file:
            file.write("x")
    if number == 13:
        raise ValueError("an unlucky number")
    if number == 99:
        time.sleep(60)
    return {"number": number, "airflow": importlib.util.find_spec("airflow") is not None}

def train(data, params, trial):
    return {"score": float(len(data.train.xy()[0]) + params["n"])}
"""
#: What the store on S3, and what a trial's data need; of Airflow nothing.
S3_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
DATA_PACKAGES = ("numpy", "pandas", "pyarrow", "dateutil", "six", "pytz", "numpy.libs")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def packages(folder: Path, names: Sequence[str]) -> str:
    """Return a folder that holds these installed packages and no others."""
    folder.mkdir()
    site = Path(str(importlib.util.find_spec("numpy").origin)).parents[1]  # type: ignore[union-attr]  # installed
    for name in names:
        for found in (site / name, site / f"{name}.py"):
            if found.exists():
                (folder / found.name).symlink_to(found)
    return str(folder)


def calls_of(folder: Path, store: ArtifactStore, arguments: Sequence[dict[str, Any]], **job: Any) -> list[CallJob]:
    function = as_function_ref(capture(function_of(folder, TEXT, "work")), store)
    calls = [Call(function=function, arguments=given, seed=1, environment="e") for given in arguments]
    return [CallJob(call=call, **job) for call in calls]


def request_of(store: ArtifactStore, jobs: Sequence[Any], *, calls_per_index: int = 1, epoch: int = 1) -> JobRequest:
    return JobRequest(
        key="test",
        epoch=epoch,
        work=store_work(jobs, store),
        calls=len(jobs),
        runtime=store_runtime(store),
        store_uri=store.uri,
        profile=ComputeProfile(name="far", kind="kubernetes", calls_per_index=calls_per_index),
        python=HERE,
        machine=platform.machine(),
    )


def start(
    request: JobRequest, folder: Path, index: int = 0, *, path: str = "", first: int = 0, **variables: str
) -> subprocess.Popen[str]:
    """Start an index as a container does: nothing but the command and its variables; no site-packages."""
    python, *arguments = far_side.command(sys.executable)
    environment = {
        **far_side.environment(request, first_index=first),
        "JOB_COMPLETION_INDEX": str(index),
        "PATH": os.defpath,
        "PYTHONPATH": path,
        "TMPDIR": str(folder),
        **variables,
    }
    return subprocess.Popen(
        [python, "-S", *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(request: JobRequest, folder: Path, index: int = 0, **options: Any) -> tuple[int, str]:
    with start(request, folder, index, **options) as process:
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


def result_of(store: ArtifactStore, request: JobRequest, index: int = 0) -> IndexResult | None:
    entry = store.latest(far_side.index_ref(request.key, request.epoch, index))
    return parse_as(IndexResult, entry.value) if entry is not None else None


def committed(store: ArtifactStore, job: CallJob) -> CallResult:
    entry = store.latest(call_ref(job.call))
    assert entry is not None
    return parse_as(CallResult, entry.value)


def test_each_index_runs_its_own_lines_and_says_so_last(tmp_path: Path, store: FolderStore) -> None:
    jobs = calls_of(tmp_path, store, [{"number": number} for number in (1, 2, 13, 4, 5)])
    request = request_of(store, jobs, calls_per_index=2)
    assert request.indexes == 3
    for index, numbers in enumerate([(1, 2), (13, 4), (5,)]):
        code, output = run(request, tmp_path, index)
        assert code == far_side.DONE, output
        result = result_of(store, request, index)
        assert result is not None
        assert (result.index, result.calls) == (index, len(numbers))
        found = [parse_as(CallResult, item) for item in result.results]
        for number, item in zip(numbers, found, strict=True):
            if number == 13:  # a call that fails has its result, too
                assert (item.status, "an unlucky number" in item.error) == ("failed", True)
            else:
                assert item.value == {"number": number, "airflow": False}
                assert item.facts == {"job": "test", "epoch": 1, "index": index}
        assert result.succeeded == sum(item.status == "succeeded" for item in found)
        assert result.peak_memory_bytes > 1_000_000
    assert committed(store, jobs[2]).status == "failed"


def test_an_index_that_is_done_does_nothing_and_one_that_is_half_done_the_rest(
    tmp_path: Path, store: FolderStore
) -> None:
    jobs = calls_of(tmp_path, store, [{"number": number, "folder": str(tmp_path)} for number in (1, 2, 3)])
    request = request_of(store, jobs[:1], calls_per_index=3)
    assert run(request, tmp_path)[0] == far_side.DONE
    assert "done already" in run(request, tmp_path)[1]
    assert (tmp_path / "ran-1").read_text() == "x"
    # The same job and epoch with its record lost: the first call has a result of this very job.
    longer = replace(request_of(store, jobs, calls_per_index=3), key="test")
    assert run(longer, tmp_path, first=0, JOB_COMPLETION_INDEX="0")[1].count("done already") == 1
    newer = replace(longer, epoch=2)
    assert run(newer, tmp_path)[0] == far_side.DONE
    assert [(tmp_path / f"ran-{number}").read_text() for number in (1, 2, 3)] == [
        "xx",
        "x",
        "x",
    ]  # a new epoch runs all


def test_sigterm_keeps_what_has_ended_and_the_next_life_runs_the_rest(tmp_path: Path, store: FolderStore) -> None:
    folder = tmp_path / "seen"
    folder.mkdir()
    arguments = [{"number": number, "folder": str(folder)} for number in (1, 99, 3)]
    jobs = calls_of(tmp_path, store, arguments)
    request = request_of(store, jobs, calls_per_index=3)
    with start(request, tmp_path) as process:
        deadline = time.monotonic() + 30
        while not (folder / "ran-99").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == far_side.STOPPED
    assert result_of(store, request) is None
    assert committed(store, jobs[0]).status == "succeeded"
    assert store.latest(call_ref(jobs[1].call)) is None
    with start(request, tmp_path) as process:  # the second life; it is ended in the same call
        deadline = time.monotonic() + 30
        while (folder / "ran-99").read_text() != "xx" and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert "1 of 3 calls were finished earlier; 2 to run" in output
    assert (folder / "ran-1").read_text() == "x"


def test_a_call_has_its_own_time_limit(tmp_path: Path, store: FolderStore) -> None:
    jobs = calls_of(tmp_path, store, [{"number": 99}], timeout_seconds=0.2)
    jobs += calls_of(tmp_path, store, [{"number": 2}])
    request = request_of(store, jobs, calls_per_index=2)
    assert run(request, tmp_path)[0] == far_side.DONE
    result = result_of(store, request)
    assert result is not None
    assert [parse_as(CallResult, item).status for item in result.results] == ["timed_out", "succeeded"]


@pytest.mark.parametrize(("there", "here"), [("aarch64", "arm64"), ("x86_64", "AMD64")])
def test_macos_and_windows_have_names_of_their_own_for_the_same_machine(
    there: str, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: there)
    _check_platform({far_side.MACHINE: here})
    monkeypatch.setattr(platform, "machine", lambda: "aarch64" if here == "AMD64" else "x86_64")
    with pytest.raises(WrongPlatform, match=here):
        _check_platform({far_side.MACHINE: here})


def test_another_python_or_machine_is_named_with_ours(tmp_path: Path, store: FolderStore) -> None:
    request = request_of(store, calls_of(tmp_path, store, [{"number": 1}]))
    code, output = run(replace(request, python="3.9", machine="pdp11"), tmp_path)
    assert code == far_side.WRONG_PLATFORM
    assert f"the image has Python {HERE} on {platform.machine()}" in output
    assert "made with Python 3.9 on pdp11" in output
    assert "Traceback" not in output


def test_work_that_cannot_be_read_is_not_tried_again(tmp_path: Path, store: FolderStore) -> None:
    request = request_of(store, calls_of(tmp_path, store, [{"number": 1}]))
    missing = Artifact(digest="sha256:" + "0" * 64, format="jsonl.gz", size_bytes=1, uri="")
    code, output = run(replace(request, work=missing), tmp_path)
    assert (code, "No blob sha256:000" in output) == (far_side.BAD_INPUT, True)
    code, output = run(request, tmp_path, AIRFLOW_ML_EPOCH="two")
    assert (code, "AIRFLOW_ML_EPOCH is not a number: 'two'" in output) == (far_side.BAD_INPUT, True)


def test_large_results_stay_in_their_refs(tmp_path: Path, store: FolderStore) -> None:
    text = "def work(size):\n    return 'x' * size\n"
    function = as_function_ref(capture(function_of(tmp_path, text, "work")), store)
    sizes = (*(30_000 for _ in range(20)), 20)
    jobs = [
        CallJob(call=Call(function=function, arguments={"size": size}, seed=seed, environment="e"))
        for seed, size in enumerate(sizes)
    ]
    request = request_of(store, jobs, calls_per_index=21)
    assert run(request, tmp_path)[0] == far_side.DONE
    result = result_of(store, request)
    assert result is not None
    assert [item is None for item in result.results] == [False] * 17 + [True] * 3 + [False]
    assert result.succeeded == 21
    assert [len(str(committed(store, job).value)) for job in jobs] == list(sizes)


def test_a_shard_runs_there_with_no_more_than_its_libraries(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, TEXT, max_shards=2)
    request = request_of(store, [shard_job(plan, shard, workers=1) for shard in range(plan.shards)])
    path = packages(tmp_path / "packages", DATA_PACKAGES)
    for shard in range(plan.shards):
        code, output = run(request, tmp_path, shard, path=path)
        assert code == far_side.DONE, output
        entries = store.history(shard_ref(plan.sweep, shard, plan.shards))
        statuses = [result.status for entry in entries for result in results_of(entry.value)]
        assert statuses == ["succeeded"] * 4, output
        result = result_of(store, request, shard)
        assert result is not None
        assert (result.results[0]["record"], result.results[0]["trials"]) == ("ShardOutcome", 4)  # type: ignore[index,call-overload]


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """A bucket on moto, and what opens it."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT_URL_S3"], region_name="us-east-1",
                 aws_access_key_id="testing", aws_secret_access_key="testing").create_bucket(Bucket="far")  # fmt: skip
    try:
        yield "s3://far/some where", variables
    finally:
        server.stop()


def test_it_runs_from_a_store_on_s3(
    tmp_path: Path, bucket: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, variables = bucket
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    store = open_store(address)
    request = request_of(store, calls_of(tmp_path, store, [{"number": 1}, {"number": 2}]), calls_per_index=2)
    code, output = run(request, tmp_path, path=packages(tmp_path / "packages", S3_PACKAGES), **variables)
    assert code == far_side.DONE, output
    result = result_of(store, request)
    assert result is not None
    assert json.loads(json.dumps(result.results[0]))["value"] == {"number": 1, "airflow": False}
