"""The artifact store and namespace of this deployment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import conf

from airflow_ml.core.aliases import PRODUCTION
from airflow_ml.errors import ConfigurationError, MissingDependency
from airflow_ml.hooks.connection import get_connection

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
    """Open the deployment's store; an address like ``s3://conn_id@bucket`` takes its credentials from the connection.

    Raises:
        ConfigurationError: no store is configured.
        MissingDependency: the Amazon provider is needed and not installed.
    """
    from airflow_ml.adapters.object_store import open_store  # not while a DAG file is parsed

    uri = store_uri()
    conn_id = _connection_in(uri)
    return open_store(uri, client=_s3_client(conn_id)) if conn_id else open_store(uri)


def runner_environment() -> dict[str, str]:
    """Return what a clean interpreter needs to open the same store: the connection's credentials, nothing else.

    Empty for a folder, and where the worker's own role opens the bucket.
    """
    return address_and_credentials(store_uri())[1]


def address_and_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """Return a store's address without its connection, and the variables by which boto3 opens it like the connection.

    Raises:
        MissingDependency: the Amazon provider is needed and not installed.
    """
    conn_id = _connection_in(uri)
    if not conn_id:
        return uri, {}
    hook = _s3_hook(conn_id)
    credentials = hook.get_credentials()
    found = {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token,
        "AWS_DEFAULT_REGION": hook.region_name,
        "AWS_ENDPOINT_URL_S3": hook.conn_config.get_service_endpoint_url("s3"),
    }
    return uri.replace(f"{conn_id}@", "", 1), {name: str(value) for name, value in found.items() if value}


def _connection_in(uri: str) -> str | None:
    parts = urlsplit(uri)
    return parts.username if parts.scheme == "s3" else None


def _s3_hook(conn_id: str) -> Any:
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    except ImportError as error:
        raise MissingDependency(
            "A store on S3 by an Airflow connection needs a package that is not installed",
            "apache-airflow-providers-amazon",
            "Install airflow-ml[amazon], or write s3://bucket/prefix and give the workers a role.",
        ) from error
    get_connection(conn_id, conn_type="aws")
    return S3Hook(aws_conn_id=conn_id)


def _s3_client(conn_id: str) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]

    from airflow_ml.adapters.s3_objects import CONNECTIONS

    hook = _s3_hook(conn_id)
    settings = Config(max_pool_connections=CONNECTIONS).merge(hook.config)  # what the connection says goes first
    return hook.get_client_type(region_name=hook.region_name, config=settings)


def namespace() -> str:
    """Return ``AIRFLOW_ML_NAMESPACE``, else ``[ml] namespace`` (default ``prod``)."""
    return os.environ.get("AIRFLOW_ML_NAMESPACE") or str(conf.get("ml", "namespace", fallback=PRODUCTION))


def work_directory() -> str | None:
    """Return the folder for temporary files; None for the system's own."""
    return str(conf.get("ml", "work_directory", fallback="")) or None
