"""Reading what a record stands for, in a plain task or a notebook."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore


def read(value: Any, *, store: str | ArtifactStore | None = None, lazily: bool = False) -> Any:
    """Return what a `@task.ml` function would see: an artifact's value, a feature set's data, a snapshot's rows.

    Args:
        value: A record, one in wire form, lists and dicts of them, or text such as ``dag/task@run`` (see `load`).
        store: A store or its address; default Airflow's own in a task, else ``AIRFLOW__ML__ARTIFACT_STORE``.
        lazily: Give every table as `Rows`, which is read as far as it is used.

    Raises:
        ArtifactNotFound: no such run, task, output or artifact.
        ConfigurationError: no store is given.
    """
    from airflow_ml.core.record import Record
    from airflow_ml.runtime.values import open_value

    opened = _store(store)
    if isinstance(value, str):
        from airflow_ml.client import find_output

        value = find_output(value, store=opened)
    return open_value(value.to_dict() if isinstance(value, Record) else value, opened, lazily=lazily)


def _store(store: str | ArtifactStore | None) -> ArtifactStore:
    from airflow_ml.client import open_given

    if store is None and "airflow.sdk.execution_time" in sys.modules:  # within a task, credentials are a connection's
        from airflow_ml.hooks.store import artifact_store

        return artifact_store()
    return open_given(store)
