"""The public surface is a list, and every name on it is there."""

from __future__ import annotations

import ast
from pathlib import Path

import airflow_ml

ROOT = Path(__file__).parents[2]


def test_all_is_sorted_and_importable() -> None:
    names = airflow_ml.__all__[2:]
    assert names == sorted(names)
    assert all(getattr(airflow_ml, name) is not None for name in airflow_ml.__all__)


def test_every_public_name_is_documented() -> None:
    undocumented = [
        name for name in airflow_ml.__all__ if not name.startswith("_") and not getattr(airflow_ml, name).__doc__
    ]
    assert undocumented == []


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(airflow_ml, "no_such_name")


def test_production_code_has_no_assert() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "airflow_ml").rglob("*.py"))
        if "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "airflow_ml").rglob("*.py"))
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
