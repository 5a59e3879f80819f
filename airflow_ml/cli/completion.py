"""Values that a shell completes: DAGs, runs and tasks out of the store."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from airflow_ml.errors import AirflowMLError

#: Runs that are offered.
_RUNS = 50


def complete_dag(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the DAGs that have runs."""
    from airflow_ml.client import dags

    return _offered(lambda: dags(store=parsed_args.store, namespace=parsed_args.namespace))


def complete_run(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the newest runs of the DAG that is given already."""
    from airflow_ml.client import BEFORE, LATEST, runs

    def found() -> list[str]:
        known = runs(parsed_args.dag, store=parsed_args.store, namespace=parsed_args.namespace, limit=_RUNS)
        return [LATEST, BEFORE, *(run.run for run in known)]

    return _offered(found)


def complete_task(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the tasks of the run that is given already."""
    from airflow_ml.client import find_run

    def found() -> list[str]:
        run = find_run(parsed_args.dag, parsed_args.run, store=parsed_args.store, namespace=parsed_args.namespace)
        return sorted({item.task for item in run.attempts()})

    return _offered(found)


def complete_ref(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return ``DAG/RUN`` for the newest runs of all DAGs."""
    from airflow_ml.client import runs

    def found() -> list[str]:
        known = runs(store=parsed_args.store, namespace=parsed_args.namespace, limit=_RUNS)
        return [f"{run.dag}/{run.run}" for run in known]

    return _offered(found)


#: By the name of the argument.
COMPLETERS: dict[str, Callable[..., list[str]]] = {
    "dag": complete_dag,
    "run": complete_run,
    "task": complete_task,
    "ref": complete_ref,
    "first": complete_ref,
    "second": complete_ref,
}


def _offered(find: Callable[[], list[str]]) -> list[str]:
    try:
        return find()
    except AirflowMLError:
        return []  # no store, or no such DAG: a shell has no place for messages
