"""What the containers of docker-compose.yaml run before the services start."""

from __future__ import annotations

import json
import runpy
import stat
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

ROOT = Path(__file__).parents[2]
initialize = runpy.run_path(str(ROOT / "docker/initialize.py"))


def test_the_login_is_its_owners_alone_and_follows_the_env_file(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    for password in ("first", "second"):
        initialize["write_login"](path, password)
        assert json.loads(path.read_text()) == {"admin": password}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_missing_buckets_are_made_and_those_there_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="mlflow")
        client.put_object(Bucket="mlflow", Key="kept", Body=b"1")
        for _ in range(2):
            initialize["make_buckets"]()
        assert {one["Name"] for one in client.list_buckets()["Buckets"]} == {"airflow-ml", "mlflow"}
        assert client.get_object(Bucket="mlflow", Key="kept")["Body"].read() == b"1"
