"""The artifact store and namespace of this deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import conf

from airflow_ml.adapters.object_store import open_store
from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore


def store_uri() -> str:
    """Return ``[ml] artifact_store``.

    Raises:
        ConfigurationError: it is not set.
    """
    uri: str = conf.get("ml", "artifact_store", fallback="")
    if not uri:
        raise ConfigurationError(
            "No artifact store is configured",
            "[ml] artifact_store is empty",
            "Set it in airflow.cfg or as AIRFLOW__ML__ARTIFACT_STORE, for example to s3://aws_default@bucket/airflow-ml.",
        )
    return uri


def artifact_store() -> ArtifactStore:
    """Open the deployment's store."""
    return open_store(store_uri())


def namespace() -> str:
    """Return ``[ml] namespace`` (default ``prod``)."""
    return str(conf.get("ml", "namespace", fallback="prod"))


def work_directory() -> str | None:
    """Return the folder for temporary files; None for the system's own."""
    return str(conf.get("ml", "work_directory", fallback="")) or None
