"""Calls: any function, once, in a clean interpreter; the result comes back through the store."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import function_of

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.fingerprint import seed_of
from airflow_ml.core.record import parse
from airflow_ml.errors import CallFailed, ConfigurationError
from airflow_ml.runtime.call import call_ref
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.codecs import load_value, store_value
from airflow_ml.runtime.context import current
from airflow_ml.runtime.environment import environment_digest, runner_environment
from airflow_ml.runtime.runner import run_call

TEXT = """
def double(frame, record, plain):
    import pandas as pd
    print("seen", type(frame).__name__, type(record).__name__, plain)
    return pd.concat([frame, frame])

def add(a, b=2):
    return {"sum": a + b, "list": (1, 2)}

def draw():
    import random
    return random.random()

def fail():
    raise LookupError("no such\\nthing")

def hang():
    import time
    time.sleep(60)

def die():
    import os
    os._exit(9)

def kill_runner():
    import os, signal
    os.kill(os.getppid(), signal.SIGKILL)
    import time
    time.sleep(60)

def where():
    from airflow_ml.runtime.context import current
    context = current()
    context.log("hello from the call")
    return [context.store.uri, context.call.seed, context.store.put_bytes(b"x", format="bytes").to_dict()]

def record():
    from airflow_ml.core.artifact import Artifact
    return Artifact(digest="sha256:" + "0" * 64, format="bytes", size_bytes=0, uri="")

def strange():
    return object()

def variable(name):
    import os
    return [os.environ.get(name), os.getcwd() == os.environ["TMPDIR"]]
"""


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def call(tmp_path: Path, store: FolderStore) -> Any:
    def make(name: str, **options: Any) -> tuple[CallResult, list[str]]:
        arguments = options.pop("arguments", {})
        lines: list[str] = []
        function = as_function_ref(capture(function_of(tmp_path, TEXT, name)), store)
        made = Call(function=function, arguments=arguments, seed=options.pop("seed", 5), environment="e")
        result = run_call(made, store_uri=store.uri, log=lines.append, **options)
        assert result.call == made.key
        latest = store.latest(call_ref(made))
        assert result.status == "lost" or (latest is not None and CallResult.from_dict(latest.value) == result)
        return result, lines

    return make


def test_artifacts_arrive_as_values_and_leave_as_artifacts(call, store):
    import pandas as pd

    frame = store_value(pd.DataFrame({"a": [1, 2]}), store)
    result, lines = call(
        "double",
        arguments={"frame": frame.to_dict(), "record": call_result().to_dict(), "plain": {"record": "none of ours"}},
    )
    assert result.status == "succeeded", result
    assert lines == ["seen DataFrame CallResult {'record': 'none of ours'}"]
    returned = parse(result.value)
    assert isinstance(returned, Artifact)
    assert load_value(returned, store)["a"].tolist() == [1, 2, 1, 2]


def call_result() -> CallResult:
    return CallResult(call="x", status="succeeded")


def test_json_stays_json_and_defaults_hold(call):
    assert call("add", arguments={"a": 1})[0].value == {"sum": 3, "list": [1, 2]}
    assert parse(call("record")[0].value).format == "bytes"


def test_the_seed_decides_and_each_run_is_kept(call, store):
    first, again, other = (call("draw", seed=seed)[0].value for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(len(list(store.history(ref))) for ref in store.refs("calls")) == [1, 2]


def test_the_context_of_a_call(call, store):
    result, lines = call("where")
    assert result.value[:2] == [store.uri, 5]
    assert lines == ["hello from the call"]
    with pytest.raises(ConfigurationError, match="No call is running here"):
        current()


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("fail", "failed", "LookupError: no such thing"),
        ("hang", "timed_out", "took longer than 1.5 s"),
        ("die", "killed", "its process ended with exit code 9"),
        ("kill_runner", "lost", "The runner left no result: its process was killed by SIGKILL (often: out of memory)"),
        ("strange", "failed", "airflow_ml.errors.NoCodec: No safe way to store a value of type"),
    ],
)
def test_every_end_is_a_result(call, name, status, error):
    began = time.monotonic()
    result, _ = call(name, timeout_seconds=1.5 if name == "hang" else None)
    assert (result.status, result.value) == (status, None)
    assert result.error.startswith(error)
    assert time.monotonic() - began < 20
    if name == "fail":
        assert 'raise LookupError("no such\\nthing")' in result.traceback


def test_stop_ends_a_call(call):
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    began = time.monotonic()
    with pytest.raises(CallFailed, match="Stopped from outside: hang"):
        call("hang", stop=stop)
    assert time.monotonic() - began < 20


def test_the_environment_is_an_allow_list(call, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert call("variable", arguments={"name": "AWS_SECRET_ACCESS_KEY"})[0].value == [None, True]
    token = uuid.uuid4().hex
    assert call("variable", arguments={"name": "MINE"}, environment={"MINE": token})[0].value == [token, True]
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_DB"):
        call("variable", arguments={"name": "x"}, environment={"AIRFLOW_CONN_DB": "x"})


def test_only_the_store_that_needs_credentials_gets_them(tmp_path):
    given = {
        "PATH": "p", "HOME": "h", "LC_ALL": "C", "AWS_PROFILE": "a", "PYTHONPATH": "x", "PYTHONSTARTUP": "s",
        "AIRFLOW__CORE__X": "1", "AIRFLOW_CONN_Y": "2", "SECRET": "3", "SSL_CERT_FILE": "c", "OMP_NUM_THREADS": "4",
    }  # fmt: skip
    folder = runner_environment(given, store_uri="file:///x", scratch=tmp_path, marker="m")
    bucket = runner_environment(given, store_uri="s3://x", scratch=tmp_path, marker="m")
    assert set(bucket) - set(folder) == {"AWS_PROFILE"}
    assert set(folder) & set(given) == {"PATH", "HOME", "LC_ALL", "PYTHONPATH", "SSL_CERT_FILE", "OMP_NUM_THREADS"}
    assert folder["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert folder["PYTHONPATH"].endswith("x")


def test_the_environment_digest_is_a_digest():
    assert environment_digest() == environment_digest()
    assert environment_digest().startswith("sha256:")


def test_one_of_our_own_functions_runs_by_name(store):
    made = Call(function=as_function_ref(capture(seed_of), store), arguments={}, seed=0, environment="e")
    result = run_call(made, store_uri=store.uri, log=lambda line: None)
    assert result.value == seed_of()
