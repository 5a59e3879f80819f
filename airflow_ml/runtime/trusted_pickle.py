"""Loading a pickle that the consumer vouches for. It runs whatever code its author put in, so it is done where nothing
can be stolen: in the runner's worker process, which has no connections, no Airflow settings and no secrets."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import ConfigurationError, MissingDependency
from airflow_ml.runtime.processes import MARKER

#: By the suffix of the file's own name.
_PICKLES, _JOBLIB = (".pkl", ".pickle"), (".joblib",)


def is_pickle(artifact: Artifact) -> bool:
    """Whether an artifact is a file whose name says that it holds a pickle."""
    return artifact.metadata.get("file_name", "").lower().endswith((*_PICKLES, *_JOBLIB))


def load_pickle(artifact: Artifact, path: Path) -> Any:
    """Return what is in a pickle.

    Args:
        artifact: Whose digest was verified.
        path: The verified file.

    Raises:
        ConfigurationError: this process is not a clean interpreter.
        MissingDependency: a ``.joblib`` file, and joblib is not installed.
    """
    if not os.environ.get(MARKER):
        raise ConfigurationError(
            "A pickle is not loaded in this process",
            artifact.digest,
            'It runs its author\'s code: say @task.ml(compute="local", trusted=True), which has no secrets at hand.',
        )
    if artifact.metadata["file_name"].lower().endswith(_JOBLIB):
        try:
            import joblib
        except ImportError as error:
            raise MissingDependency("A .joblib file needs a package", "joblib", "Install joblib.") from error
        return joblib.load(path)
    with path.open("rb") as source:
        return pickle.load(source)  # noqa: S301 - the consumer said trusted=True, for this digest
