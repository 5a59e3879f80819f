"""Asking about a task of a DAG file: Airflow reads the file, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_ml.errors import ConfigurationError

#: The module that answers; it imports airflow, this command does not.
_ANSWERS = "airflow_ml.plugin.dag_task"


def ask_dag(
    question: str,
    dag: str,
    task: str,
    *,
    dags: str | None,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what a process with Airflow says of a task; what it writes goes to standard error.

    Args:
        question: ``describe`` or ``run``.
        dag, task: Their ids; of a sweep the name of its group.
        dags: Folder or file with the DAG; None for Airflow's own setting.
        settings: Further plain data for the question.
        environment: Variables beside this process's own.

    Raises:
        ConfigurationError: there is no such DAG or task, or it cannot be done; in the process's own words.
    """
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:
        answer = Path(folder) / "answer.json"
        asked = json.dumps({"dag": dag, "task": task, "dags": dags, **(settings or {})})
        quiet = {
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow.task=INFO airflow_ml=INFO",  # what the task itself says
            "PYTHONWARNINGS": "ignore",
        }
        ended = subprocess.run(
            [sys.executable, "-m", _ANSWERS, question, str(answer)],
            input=asked,
            text=True,
            stdout=sys.stderr if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
            env={**quiet, **os.environ, **(environment or {})},
            check=False,
        )
        if not answer.exists():
            raise ConfigurationError(
                f"The DAG {dag} cannot be read", f"exit code {ended.returncode}", "See what is printed above."
            )
        said: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in said:
        raise ConfigurationError(*said["error"])
    return said


def _has_descriptor(stream: Any) -> bool:
    try:
        return bool(stream.fileno() >= 0)
    except (OSError, ValueError, AttributeError):
        return False
