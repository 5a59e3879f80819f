"""The docstring of a layer says where to find what: each of its modules, once."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

#: Where the names begin, behind the label.
_COLUMN = 25


@pytest.mark.parametrize("layer", ["core", "runtime", "adapters"])
def test_each_module_stands_in_its_layers_map(layer: str) -> None:
    package = importlib.import_module(f"airflow_ml.{layer}")
    folder = Path(str(package.__file__)).parent
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__"}
    lines = str(package.__doc__).partition("Where to find what:")[2].splitlines()
    named = [name for line in lines for name in line[_COLUMN:].split()]
    assert sorted(named) == sorted(modules), f"Name each module of {layer}/ in the docstring of {layer}/__init__.py"
