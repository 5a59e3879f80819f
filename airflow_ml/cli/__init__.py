"""The command ``airflow-ml``. It imports no airflow; the same verbs stand under ``airflow ml``."""

from __future__ import annotations

from airflow_ml.cli.main import main

__all__ = ["main"]
