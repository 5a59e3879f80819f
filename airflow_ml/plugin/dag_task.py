"""``python -m airflow_ml.plugin.dag_task QUESTION ANSWER``: reads a DAG file with Airflow and answers the command line.

The question's data come in by standard input as JSON, the answer goes into a file: a DAG file may print what it likes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from airflow_ml.errors import AirflowMLError, ConfigurationError


def main(question: str, answer: Path) -> int:
    """Answer one question."""
    asked = json.load(sys.stdin)
    said: dict[str, Any]
    try:
        said = _QUESTIONS[question](asked)
    except AirflowMLError as error:
        said = {"error": [f"{type(error).__name__}: {error.what}", str(error.actual), error.remedy]}
    except KeyboardInterrupt:
        return 130
    answer.write_text(json.dumps(said), encoding="utf-8")
    return 1 if "error" in said else 0


def find_tasks(dag_id: str, name: str, dags: str | None) -> list[Any]:
    """Return the operators that a name means: one task, or those of a sweep's group in the order in which they run.

    Args:
        dag_id: Id of the DAG.
        name: Id of a task, or of a group.
        dags: Folder or file with the DAG; None for ``[core] dags_folder``.

    Raises:
        ConfigurationError: there is no such DAG or task, or its file cannot be read.
    """
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import conf

    folder = Path(dags or conf.get("core", "dags_folder")).resolve()
    sys.path.insert(0, str(folder if folder.is_dir() else folder.parent))
    bag = DagBag(folder)
    found = bag.dags.get(dag_id)
    if found is None:
        broken = "".join(f" {path}: {text.strip().splitlines()[-1]}." for path, text in bag.import_errors.items())
        raise ConfigurationError(
            f"No DAG {dag_id} in {folder}", f"there are {', '.join(sorted(bag.dags)) or 'none'}",
            f"Give --dags FOLDER.{broken}",
        )  # fmt: skip
    if name in found.task_dict:
        return [found.task_dict[name]]
    tasks = [task for task in found.tasks if str(task.task_id).startswith(f"{name}.")]
    if not tasks:
        raise ConfigurationError(f"No task {name} in DAG {dag_id}", ", ".join(found.task_dict), "Give one of these.")
    return tasks


def _describe(asked: dict[str, Any]) -> dict[str, Any]:
    tasks = find_tasks(asked["dag"], asked["task"], asked["dags"])
    with_compute = [task for task in tasks if getattr(task, "compute", None) is not None]
    if not with_compute:
        raise ConfigurationError(
            f"{asked['task']} is no task with compute=", type(tasks[0]).__name__, "Give a @task.ml or a @task.sweep."
        )
    task = with_compute[0]
    shards = getattr(task, "max_shards", None)
    said = {"compute": task.compute, "calls": int(shards) if isinstance(shards, int) else 1}
    return {**said, "pod": True} if hasattr(task, "rendered") else said


def _pod(asked: dict[str, Any]) -> dict[str, Any]:
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.record import parse_as

    [task] = find_tasks(asked["dag"], asked["task"], asked["dags"])
    return {"manifest": task.rendered(parse_as(ComputeProfile, asked["profile"]))}


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    from airflow_ml.plugin.task_here import run_here

    tasks = find_tasks(asked["dag"], asked["task"], asked["dags"])
    return {"value": run_here(tasks, asked["settings"], asked["compute"])}


_QUESTIONS = {"describe": _describe, "pod": _pod, "run": _run}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
