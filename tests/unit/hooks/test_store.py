"""A store on S3 by an Airflow connection: in the task, and in the clean interpreter beside it."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from moto.server import ThreadedMotoServer

from airflow_ml.adapters.object_store import open_store
from airflow_ml.errors import ConfigurationError, ConnectionMissing
from airflow_ml.hooks import store as hooks
from airflow_ml.operators.runner_call import run_in_runner
from airflow_ml.plugin import commands
from airflow_ml.runtime import remote_results


def _double(number: int) -> int:
    return 2 * number


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    client.create_bucket(Bucket="bucket")
    yield url
    server.stop()


@pytest.fixture
def connection(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_LAKE", json.dumps({"conn_type": "aws", "login": "key", "password": "secret", "extra": extra})
    )
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", "s3://lake@bucket/ml")


def test_task_and_runner_open_the_same_store(connection: None, monkeypatch: pytest.MonkeyPatch) -> None:
    here = hooks.artifact_store()
    stored = here.put_bytes(b"hello", format="bytes")
    for name, value in hooks.runner_environment().items():
        monkeypatch.setenv(name, value)
    there = open_store(here.uri)
    assert there.get_bytes(stored) == b"hello"
    assert "lake" not in here.uri


def test_many_threads_share_a_client_without_a_warning(
    connection: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remote_results, "_READERS", 32)  # as many as a triggerer has threads
    store, job = hooks.artifact_store(), SimpleNamespace(key="k", epoch=1, indexes=96)
    for name, value in hooks.runner_environment().items():
        monkeypatch.setenv(name, value)
    for one in (store, open_store(store.uri)):
        assert list(remote_results._index_results(one, cast(Any, SimpleNamespace(request=job)))) == []
    assert "Connection pool is full" not in caplog.text


def test_a_call_comes_back_from_a_store_that_only_the_connection_opens(connection: None) -> None:
    lines: list[str] = []
    value = run_in_runner(
        _double, {"number": 21}, store=hooks.artifact_store(), namespace="test", log=lines.append, timeout_seconds=60
    )
    assert value == 42, lines
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ, "the task process itself has no credentials to fall back to"


def test_a_folder_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", "file:///mnt/store")
    assert hooks.runner_environment() == {}


def test_missing_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", "s3://nowhere@bucket/ml")
    with pytest.raises(ConnectionMissing, match="nowhere"):
        hooks.artifact_store()


def test_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", "")
    with pytest.raises(ConfigurationError, match="artifact_store is empty"):
        hooks.artifact_store()


def test_airflow_ml_opens_the_store_of_the_connection(
    connection: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hooks.artifact_store().append("models/prod/churn", {"record": "ModelVersion"}, after=0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "")  # put back what the command sets in this process
    with pytest.raises(SystemExit) as ended:
        commands._run(argparse.Namespace(verb="refs", rest=["models", "--output", "json"]))
    assert ended.value.code == 0
    logging.disable(logging.NOTSET)
    told = capsys.readouterr().out
    # Under pytest Airflow's logger keeps the standard output that it met first; a terminal's user sees the JSON alone.
    assert json.loads(told[told.index("[\n") :]) == [
        {"ref": "models/prod/churn", "entries": 1, "record": "ModelVersion"}
    ]


def test_a_branch_has_aliases_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import airflow_ml as ml
    from airflow_ml.core.aliases import alias_in

    assert alias_in("prod", "challenger") == "challenger"
    assert alias_in("ada", "challenger") == "challenger-ada"
    assert alias_in("fix/a b", "challenger") != alias_in("fix/a-b", "challenger")
    monkeypatch.setenv("AIRFLOW_ML_NAMESPACE", "ada")
    registering = ml.RegisterModelOperator(selection={}, name="m", task_id="t")
    assert registering.alias == "challenger-ada"
    assert "challenger-ada" in registering.outlets[0].uri, "production's release is not triggered"
