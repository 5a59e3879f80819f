"""Importing the package, the operators and the examples loads no heavy library, and of the package what is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    *("numpy", "pandas", "pyarrow", "mlflow", "great_expectations", "kubernetes", "boto3", "snowflake"),
    *("optuna", "sklearn", "scipy", "duckdb", "skops", "uvicorn"),
}
#: What is looked at without Airflow in the process, by a name.
IMPORTS = {
    "package": "import airflow_ml",
    "entry points": "import airflow_ml.provider_info, airflow_ml.plugin",
    # GpuPodOperator is Airflow's own pod operator, which loads kubernetes: whoever names it pays, nobody else.
    "public names": (
        "import airflow_ml; [getattr(airflow_ml, name) for name in airflow_ml.__all__ if name != 'GpuPodOperator']"
    ),
    "pandas": "import pandas",
    "command line": "import airflow_ml, airflow_ml.provider_info, airflow_ml.cli",
}
EXAMPLES = {path.stem: path for path in sorted((ROOT / "dags_examples").glob("*.py"))}

#: What does the work of a task, and what its results are made of: no DAG file needs it.
AT_WORK = (
    *("runtime.*", "adapters.*", "triggers.*", "gateway.*", "cli.*", "plugin.*", "testing.*"),
    *("core.artifact", "core.call", "core.canary", "core.compute", "core.gate", "core.job", "core.monitoring"),
    *("core.ports", "core.provenance", "core.selection", "core.statistics", "core.sweep", "core.rollout_state"),
    *("operators.recording", "operators.task_origin", "operators.secret_masking", "operators.remote"),
    *("operators.runner_call", "operators.canary_run", "operators.batch_scoring", "operators.feature_building"),
)
#: What some examples name themselves: a compute profile with changes, a suite, a record, constraints, a task's state.
NAMED = {
    "compute": ("core.compute",),
    "gate": ("adapters.expectation_suite",),
    "reap": ("triggers.task_state",),
    "selection": ("core.artifact", "core.selection"),
    "versions": ("core.artifact", "runtime.data", "runtime.part", "runtime.rows"),
}
#: Modules of the package that one example may load. Each costs a parse about a millisecond, a record of it another;
#: flight_delays, with all stages, has 52 of them.
MOST_MODULES = 56

#: Each statement has a process to itself. Those of IMPORTS are forked from one that has loaded nothing; the examples'
#: have Airflow, since any asset with a scheme makes it load every provider's asset handlers, amazon's with boto3: not
#: our doing.
PROGRAM = """
import json, os, sys, traceback

def loaded_by(statement, before):
    reading, writing = os.pipe()
    if not os.fork():
        try:
            exec(statement, {})
            answer = sorted(set(sys.modules) - before)
        except BaseException:
            answer = traceback.format_exc()
        with open(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        answer = json.load(pipe)
    os.wait()
    return answer

imports, examples = json.loads(sys.argv[1])
before = set(sys.modules)
found = {name: loaded_by(statement, before) for name, statement in imports.items()}
from airflow.sdk import Asset
Asset("mlflow://model@alias")
before = set(sys.modules)
found |= {name: loaded_by(statement, before) for name, statement in examples.items()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded() -> Mapping[str, list[str] | str]:
    """The modules that each statement loads, or its traceback."""
    examples = {name: f"import runpy; runpy.run_path({str(path)!r})" for name, path in EXAMPLES.items()}
    command = [sys.executable, "-c", PROGRAM, json.dumps([IMPORTS, examples])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    answer: dict[str, list[str] | str] = json.loads(done.stdout.splitlines()[-1])
    return answer


def modules(loaded: Mapping[str, list[str] | str], name: str) -> set[str]:
    found = loaded[name]
    assert not isinstance(found, str), found
    return set(found)


def packages(loaded: Mapping[str, list[str] | str], name: str) -> set[str]:
    return {module.partition(".")[0] for module in modules(loaded, name)}


def own(loaded: Mapping[str, list[str] | str], name: str) -> set[str]:
    """The package's own modules, without its name."""
    return {one.removeprefix("airflow_ml.") for one in modules(loaded, name) if one.startswith("airflow_ml.")}


def at_work(names: set[str]) -> set[str]:
    return {name for name in names if any(fnmatch(name, pattern) for pattern in AT_WORK)}


@pytest.mark.parametrize("name", ["package", "entry points", "public names"])
def test_import_is_light(loaded: Mapping[str, list[str] | str], name: str) -> None:
    assert "airflow_ml" in packages(loaded, name)
    assert not packages(loaded, name) & HEAVY


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_parses_lightly(loaded: Mapping[str, list[str] | str], name: str) -> None:
    assert "airflow_ml" in packages(loaded, name)
    assert not packages(loaded, name) & HEAVY


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_loads_what_its_arguments_need(loaded: Mapping[str, list[str] | str], name: str) -> None:
    ours = own(loaded, name)
    assert at_work(ours) <= {*NAMED.get(name, ())}
    assert len(ours) <= MOST_MODULES


def test_the_check_can_see_what_does_the_work(loaded: Mapping[str, list[str] | str]) -> None:
    assert {"runtime.rows", "core.provenance"} <= at_work(own(loaded, "public names"))


def test_the_check_can_see_a_heavy_import(loaded: Mapping[str, list[str] | str]) -> None:
    assert {"numpy", "pandas"} <= packages(loaded, "pandas")


def test_package_imports_no_airflow(loaded: Mapping[str, list[str] | str]) -> None:
    assert "airflow_ml" in packages(loaded, "command line")
    assert "airflow" not in packages(loaded, "command line")
