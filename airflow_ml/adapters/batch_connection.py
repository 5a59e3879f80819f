"""A connection to AWS outside of Airflow: by the credentials and the region of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_ml.adapters.batch_api import CLIENT_SETTINGS
from airflow_ml.errors import BackendUnavailable, MissingDependency


def open_batch(region: str | None) -> Callable[[str], Any]:
    """Return what makes a client of a service.

    Args:
        region: Of the profile; None for that of the environment.

    Raises:
        MissingDependency: the package boto3 is not installed.
        BackendUnavailable: there is no region.
    """
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependency(
            "Asking AWS needs a package that is not installed", "boto3", "Install airflow-ml[amazon]."
        ) from error
    try:
        boto3.client("batch", region_name=region)
    except BotoCoreError as error:
        raise BackendUnavailable(
            "AWS is not configured here", str(error), "Give region in the profile, or AWS_DEFAULT_REGION."
        ) from error
    return lambda service: boto3.client(service, region_name=region, config=Config(**CLIENT_SETTINGS))
