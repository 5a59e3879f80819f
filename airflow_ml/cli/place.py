"""Which store and namespace a verb looks into."""

from __future__ import annotations

import argparse
import os

from airflow_ml.core.store_keeping import StoreKeeper
from airflow_ml.errors import ConfigurationError


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every verb has."""
    parser.add_argument(
        "--store", default=os.environ.get("AIRFLOW__ML__ARTIFACT_STORE", ""),
        help="the artifact store; default: the environment variable AIRFLOW__ML__ARTIFACT_STORE",
    )  # fmt: skip
    parser.add_argument(
        "--namespace",
        default=os.environ.get("AIRFLOW_ML_NAMESPACE") or os.environ.get("AIRFLOW__ML__NAMESPACE") or "prod",
        help="whose runs; default: AIRFLOW_ML_NAMESPACE, else AIRFLOW__ML__NAMESPACE, else prod",
    )
    parser.add_argument("--output", choices=("table", "json"), default="table", help="how to print; default: table")


def open_place(options: argparse.Namespace) -> StoreKeeper:
    """Open the store that the arguments name.

    Raises:
        ConfigurationError: they name none.
    """
    from airflow_ml.adapters.object_store import open_store

    if not options.store:
        raise ConfigurationError(
            "No artifact store is given",
            "--store is empty",
            "Give --store, or set the environment variable AIRFLOW__ML__ARTIFACT_STORE.",
        )
    return open_store(options.store)
