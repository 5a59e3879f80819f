"""The MLflow side of a model directory: signature, input example, requirements."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.features import FeatureSet
from airflow_ml.errors import MissingDependency

if TYPE_CHECKING:
    import pandas as pd

#: What a model needs to be loaded, beside this package; named here since inferring them takes MLflow half a minute.
_REQUIRED = ("scikit-learn", "skops", "numpy", "pandas", "pyarrow", "scipy")


def save_pyfunc(
    into: Path,
    *,
    data: Path,
    loader: str,
    example: pd.DataFrame,
    features: FeatureSet,
    rows: Path,
    libraries: Mapping[str, str],
) -> None:
    """Write an MLflow model directory around ``data``.

    Args:
        into: The directory; must not exist.
        data: The folder with the manifest and the models' files.
        loader: Module with ``_load_pyfunc``.
        example: Rows with the columns that the model reads, in their order.
        features: The feature set that the models were trained on.
        rows: Its Parquet file, which knows the columns' types.
        libraries: Versions of further distributions that the models need, by name.

    Raises:
        MissingDependency: mlflow is not installed.
    """
    # Read once, when mlflow is imported; registration imports it here first, before any client of the registry does.
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_CONFIGURE_LOGGING": "false"}
    try:
        import mlflow.pyfunc
    except ImportError as error:
        raise MissingDependency(
            "The mlflow package is not installed", str(error), "Install airflow-ml[mlflow]."
        ) from error
    import pyarrow.parquet as pq

    types = {field.name: str(field.type) for field in pq.read_schema(rows)}
    mlflow.pyfunc.save_model(
        path=str(into),
        loader_module=loader,
        data_path=str(data),
        signature=signature(example, types),
        input_example=plain(example, types),
        pip_requirements=[*requirements(), *(f"{name}=={version}" for name, version in sorted(libraries.items()))],
        metadata={"view": features.view, "view_digest": features.view_digest},
    )


def signature(example: pd.DataFrame, types: dict[str, str]) -> Any:
    """Return the signature: every column optional, since an absent feature is null, and one double as answer."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    kinds = {True: DataType.double, False: DataType.string}
    inputs = [ColSpec(kinds[is_number(types[name])], name, required=False) for name in example.columns]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(DataType.double)]))


def plain(example: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """Return the example with the column types of the signature: numbers as float64, the rest as text."""
    columns = {}
    for name in example.columns:
        values = example[name].astype(object)
        missing = values.where(values.notna(), None)
        columns[name] = missing.astype("float64") if is_number(types[name]) else missing
    return example.assign(**columns).reset_index(drop=True)


def is_number(dtype: str) -> bool:
    """Tell from an Arrow type's name whether a feature is a double to the model; booleans and integers are too."""
    return dtype.startswith(("bool", "int", "uint", "float", "double", "halffloat", "decimal"))


def requirements() -> list[str]:
    """Return the pinned distributions of this process that loading needs."""
    from airflow_ml import __version__

    found = [f"airflow-ml=={__version__}"]
    for name in _REQUIRED:
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
