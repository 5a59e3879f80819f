"""What has to be there before the services start: Airflow's database, its login, and a bucket. Safe to run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BUCKETS = ("airflow-ml", "mlflow")


def main() -> None:
    """Make what is missing."""
    write_login(Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]), os.environ["ADMIN_PASSWORD"])
    make_buckets()
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True)


def write_login(path: Path, password: str) -> None:
    """Write the password file of Airflow's simple auth manager; without it, it would make up a password and log it."""
    path.touch(mode=0o600)
    path.write_text(json.dumps({"admin": password}), encoding="utf-8")


def make_buckets() -> None:
    """Make the buckets of artifact store and MLflow; address and keys come from boto3's own variables."""
    import boto3  # type: ignore[import-untyped]

    client = boto3.client("s3")
    found = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in sorted(set(BUCKETS) - found):
        client.create_bucket(Bucket=name)


if __name__ == "__main__":
    main()
