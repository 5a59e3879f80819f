"""The asset scheme ``mlflow://<model>@<alias>``: a model alias as an Airflow asset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Asset


def model_uri(model: str, alias: str) -> str:
    """Return the URI of a model's alias, as Airflow stores it."""
    return f"mlflow://{model}@{alias}"


def normalize_uri(uri: SplitResult) -> SplitResult:
    """Check and normalize an ``mlflow://`` URI; Airflow calls this for every such asset.

    Raises:
        ConfigurationError: without a model name, or with a path.
    """
    if not uri.netloc.partition("@")[0] or uri.path not in ("", "/"):
        raise ConfigurationError(
            "Not the URI of a model", uri.geturl(), "Write mlflow://<model>@<alias>, e.g. mlflow://churn@champion."
        )
    return uri._replace(path="")


def create_asset(*, model: str, alias: str, extra: dict[str, Any] | None = None) -> Asset:
    """Return the asset of a model's alias; the same one as ``Asset("mlflow://<model>@<alias>")`` in a schedule."""
    from airflow.sdk import Asset

    uri = model_uri(model, alias)
    return Asset(name=uri, uri=uri, extra=extra or {})
