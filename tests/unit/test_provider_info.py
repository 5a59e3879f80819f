"""Airflow's own ProvidersManager accepts what we declare."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Asset

from airflow_ml.provider_info import get_provider_info

INFO = get_provider_info()


def test_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_airflow_discovers_the_provider() -> None:
    provider = ProvidersManager().providers["airflow-ml"]
    assert provider.version == importlib.import_module("airflow_ml").__version__


@pytest.mark.parametrize("conn_type", ["mlflow", "airflow_ml_gateway"])
def test_connection_types_can_be_tested(conn_type: str) -> None:
    hook = ProvidersManager().hooks[conn_type]
    assert hook is not None
    assert hook.connection_testable


def test_plugin_entry_point() -> None:
    (found,) = entry_points(group="airflow.plugins", name="airflow_ml")
    assert found.load().name == "airflow_ml"


def _paths() -> list[str]:
    paths = [item["hook-class-name"] for item in INFO["connection-types"]]
    paths += [item["class-name"] for item in INFO["task-decorators"]]
    paths += [*INFO["extra-links"], *INFO["cli"], *(item["handler"] for item in INFO["asset-uris"])]
    return paths


@pytest.mark.parametrize("path", _paths())
def test_declared_names_exist(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("key", ["operators", "hooks", "triggers"])
def test_declared_modules_import(key: str) -> None:
    groups: list[dict[str, Any]] = INFO[key]
    assert all(importlib.import_module(module) for group in groups for module in group["python-modules"])


def test_asset_scheme() -> None:
    assert Asset("mlflow://churn@champion").uri == "mlflow://churn@champion"
