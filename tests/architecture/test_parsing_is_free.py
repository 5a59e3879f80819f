"""Importing the package, the operators and the example loads none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = [
    *("numpy", "pandas", "pyarrow", "mlflow", "great_expectations", "kubernetes", "boto3", "snowflake"),
    *("optuna", "sklearn", "scipy", "duckdb", "skops", "uvicorn"),
]

#: Any asset with a scheme makes Airflow load every provider's asset handlers, amazon's with boto3: not our doing.
PROGRAM = """
import json, sys
if {with_airflow}:
    from airflow.sdk import Asset
    Asset("mlflow://model@alias")
before = set(sys.modules)
{statement}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}} & set({heavy!r}))))
"""


def loaded_by(statement: str, *, with_airflow: bool = False) -> list[str]:
    program = PROGRAM.format(statement=statement, heavy=HEAVY, with_airflow=with_airflow)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    result: list[str] = json.loads(found.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("import airflow_ml", id="package"),
        pytest.param("import airflow_ml.provider_info, airflow_ml.plugin", id="entry points"),
        pytest.param(
            # GpuPodOperator is Airflow's own pod operator, which loads kubernetes: whoever names it pays, nobody else.
            "import airflow_ml; [getattr(airflow_ml, name) for name in airflow_ml.__all__ if name != 'GpuPodOperator']",
            id="public names",
        ),
    ],
)
def test_import_is_light(statement: str) -> None:
    assert loaded_by(statement) == []


@pytest.mark.parametrize("path", sorted((ROOT / "dags_examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_parses_lightly(path: Path) -> None:
    assert loaded_by(f"import runpy; runpy.run_path({str(path)!r})", with_airflow=True) == []


def test_the_check_can_see_a_heavy_import() -> None:
    assert {"numpy", "pandas"} <= set(loaded_by("import pandas"))


def test_package_imports_no_airflow() -> None:
    program = "import sys, airflow_ml, airflow_ml.provider_info, airflow_ml.cli; assert 'airflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
