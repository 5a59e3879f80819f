"""The file by which clients find the double."""

from __future__ import annotations

import base64
import json
from pathlib import Path


def write_kubeconfig(path: Path, *, url: str, authority: bytes, token: str, namespace: str) -> None:
    """Write a kubeconfig (JSON is YAML), readable by the owner only: whoever has its token can run commands."""
    name = "airflow-ml-double"
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(authority).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
