"""Which files of a DAGs folder an ``AirflowInstance`` loads; Airflow's ``[core] might_contain_dag_callable``."""

from __future__ import annotations

import os
import zipfile
from fnmatch import fnmatch
from pathlib import Path

#: Environment variable with glob patterns of file names, separated by colons.
CHOSEN = "AIRFLOW_ML_DAG_FILES"


def is_chosen(file_path: str, zip_file: zipfile.ZipFile | None = None) -> bool:
    """Say whether a file is one of the chosen ones and looks like a DAG file to Airflow."""
    from airflow.utils.file import might_contain_dag_via_default_heuristic

    if zip_file is None and not any(fnmatch(Path(file_path).name, glob) for glob in os.environ[CHOSEN].split(":")):
        return False
    return might_contain_dag_via_default_heuristic(file_path, zip_file)
