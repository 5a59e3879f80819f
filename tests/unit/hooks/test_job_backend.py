"""Clients of clusters and of AWS as Airflow's connections say, opened from many threads at once."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.batch_api import BatchApi
from airflow_ml.errors import BackendUnavailable, ConfigurationError, ConnectionMissing
from airflow_ml.hooks import job_backend


def test_a_client_of_aws_repeats_nothing_by_itself_and_keeps_what_its_connection_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extra = {"region_name": "eu-central-1", "config_kwargs": {"retries": {"mode": "standard"}, "tcp_keepalive": True}}
    monkeypatch.setenv(
        "AIRFLOW_CONN_CLOUD", json.dumps({"conn_type": "aws", "login": "key", "password": "secret", "extra": extra})
    )
    settings = job_backend._aws_client("cloud", "", "batch").meta.config
    assert settings.retries["total_max_attempts"] == 1
    assert (settings.tcp_keepalive, settings.region_name) == (True, "eu-central-1")
    assert job_backend._aws_client("cloud", "us-west-2", "batch").meta.region_name == "us-west-2"


def test_clients_that_are_opened_at_once_are_each_of_their_own_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kubernetes import config

    names = ("one", "two")
    for name in names:
        cluster = {"clusters": [{"name": "c", "cluster": {"server": f"https://{name}.example.com"}}]}
        user = {"users": [{"name": "u", "user": {"token": name}}]}
        context = {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}
        extra = {"kube_config": {"apiVersion": "v1", "kind": "Config", **cluster, **user, **context}}
        monkeypatch.setenv(
            f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "kubernetes", "extra": json.dumps(extra)})
        )
    both = threading.Barrier(2)
    load = config.load_kube_config

    def load_slowly(*arguments: Any, **settings: Any) -> None:
        load(*arguments, **settings)
        with contextlib.suppress(threading.BrokenBarrierError):  # only one is let in at a time
            both.wait(1.0)

    monkeypatch.setattr(config, "load_kube_config", load_slowly)
    found: dict[str, str] = {}

    def connect(name: str) -> None:
        found[name] = job_backend._kubernetes_client(name).configuration.host

    threads = [threading.Thread(target=connect, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: f"https://{name}.example.com" for name in names}


@pytest.mark.parametrize("kind", ["kubernetes", "batch"])
def test_a_connection_that_nobody_has_made_is_told(kind: str) -> None:
    connect: Any = {
        "kubernetes": job_backend._kubernetes_client,
        "batch": lambda conn_id: job_backend._aws_client(conn_id, "eu-central-1", "batch"),
    }[kind]
    with pytest.raises(ConnectionMissing, match="nobody_made_it"):
        connect("nobody_made_it")


def test_a_connection_that_opens_no_cluster_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"kubernetes_default: .*No configuration found.*kube_config"):
        job_backend._kubernetes_client("kubernetes_default")


def test_without_credentials_aws_is_not_asked_for_a_minute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AIRFLOW_CONN_AWS_DEFAULT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    waits: list[float] = []
    api = BatchApi(lambda service: job_backend._aws_client("aws_default", "eu-central-1", service), sleep=waits.append)
    with pytest.raises(BackendUnavailable, match="NoCredentialsError"):
        api.call("list_jobs", jobQueue="q")
    assert waits == []
