"""The verb ``run``: one task of a DAG now, on inputs of an earlier run, in a namespace of one's own."""

from __future__ import annotations

import argparse
import getpass
import os
import re

from airflow_ml.cli.dag_task import ask_dag
from airflow_ml.cli.output import print_json
from airflow_ml.cli.place import open_place
from airflow_ml.cli.profiles import profile_meant, profiles_path
from airflow_ml.errors import ConfigurationError


def run(options: argparse.Namespace) -> int:
    """Run the task in a process with Airflow, and print its value as JSON."""
    settings = dict(_setting(text) for text in options.settings)
    if options.compute is not None:
        profile_meant(options.compute)  # a mistake shows before Airflow is loaded
    environment = {
        "AIRFLOW__ML__ARTIFACT_STORE": open_place(options).uri,
        "AIRFLOW__ML__COMPUTE_PROFILES": profiles_path(),
        # Inputs are found where they are; what comes of this is the user's own.
        "AIRFLOW_ML_NAMESPACE": options.namespace,
        "AIRFLOW__ML__NAMESPACE": own_namespace(),
    }
    said = ask_dag(
        "run", options.dag, options.task, dags=options.dags, environment=environment,
        settings={"settings": settings, "compute": options.compute},
    )  # fmt: skip
    print_json(said["value"])
    return 0


def own_namespace() -> str:
    """Return the namespace of this machine's user: what one tries out never is production's."""
    name = os.environ.get("USER") or os.environ.get("LOGNAME") or getpass.getuser()
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "me"


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigurationError("--set needs a name and a value", repr(text), "Write --set name=value.")
    return name, value
