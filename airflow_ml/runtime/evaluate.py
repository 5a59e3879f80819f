"""Scoring the sealed holdout: candidate, champion and a trivial baseline on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.features import FeatureSet
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, FeatureViewMismatch
from airflow_ml.runtime.codecs import store_value
from airflow_ml.runtime.context import current
from airflow_ml.runtime.data import Data, open_holdout
from airflow_ml.runtime.grouped_model import GroupedModel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow.dataset as ds

#: Columns of the result, beside the key and the slices.
RESERVED = ("day", "label", "candidate", "champion", "baseline")


def score_holdout(
    features: Mapping[str, Any],
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    champion_features: Mapping[str, Any] | None,
    slices: Sequence[str],
) -> dict[str, JSON]:
    """Score the test split and return the wire form of a Parquet artifact.

    Its columns are the key, ``day`` (date of ``predict_at`` in UTC), ``label``, ``candidate``, ``champion`` (absent
    without one), ``baseline`` (the training label's mean on every row) and the slices.

    Args:
        features: The `FeatureSet` in wire form; its test split is opened here and nowhere else.
        candidate: The manifest of the candidate's models, or its `Artifact` in wire form.
        champion: The champion's manifest, or None where nothing serves yet.
        champion_features: A `FeatureSet` of the champion's own view over the same spine, joined by key; None where the
            champion has the candidate's view.
        slices: Columns of the feature set to keep for checks by slice.

    Raises:
        EmptyDataset: the test split or the training split has no rows.
        ColumnMissing: a slice, or a feature of a model, is not a column.
        FeatureViewMismatch: the champion's features lack rows of the holdout, or hold a key twice.
        ConfigurationError: the label is text.
    """
    import pandas as pd

    call = current()
    record = parse_as(FeatureSet, features)
    models = _models(call.store, candidate, champion)
    path = call.store.path(record.artifact)
    own = [model for name, model in models.items() if name == "candidate" or champion_features is None]
    frame = _holdout(path, record, [*slices, *(column for model in own for column in model.columns)])
    _check_slices(slices, record)
    scored: dict[str, Any] = {
        record.key: frame[record.key],
        "day": pd.to_datetime(frame[record.predict_at], utc=True).dt.strftime("%Y-%m-%d"),
        "label": frame[record.label].astype("float64"),
    }
    for name, model in models.items():
        rows = frame
        if name == "champion" and champion_features is not None:
            rows = _same_rows(call.store, parse_as(FeatureSet, champion_features), model, frame[record.key])
        scored[name] = model.predict(rows)
        call.log(f"{name}: {len(rows):,} rows of the holdout scored")
    scored["baseline"] = _train_mean(path, record)
    scored |= {name: frame[name].to_numpy() for name in slices}
    return store_value(pd.DataFrame(scored).reset_index(drop=True), call.store, name="holdout").to_dict()


def _models(
    store: ArtifactStore, candidate: Mapping[str, Any], champion: Mapping[str, Any] | None
) -> dict[str, GroupedModel]:
    wires = {"candidate": candidate, **({"champion": champion} if champion is not None else {})}
    return {name: GroupedModel.of(wire, store) for name, wire in wires.items()}


def _holdout(path: Path, record: FeatureSet, extra: Sequence[str]) -> pd.DataFrame:
    import pyarrow as pa

    part = open_holdout(path, record).test
    if not part.rows:
        raise EmptyDataset("The test split has no rows", record.view, "Give TimeSplit a longer test, or more data.")
    kind = part.dataset.schema.field(record.label).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raise ConfigurationError(
            f"The label {record.label} is no number",
            kind,
            "Give 0 and 1, or the number to predict: make it so in the snapshot's SQL.",
        )
    return _read(part.dataset, [record.key, record.predict_at, record.label, *extra], "The feature set")


def _read(dataset: ds.Dataset, wanted: Sequence[str], what: str) -> pd.DataFrame:
    columns = list(dict.fromkeys(wanted))
    missing = [name for name in columns if name not in dataset.schema.names]
    if missing:
        raise ColumnMissing(
            f"{what} lacks columns", ", ".join(missing), f"Carry them in the view; it has {dataset.schema.names[:30]}."
        )
    frame: pd.DataFrame = dataset.to_table(columns=columns, use_threads=False).to_pandas()
    return frame


def _check_slices(slices: Sequence[str], record: FeatureSet) -> None:
    taken = sorted({*RESERVED, record.key} & set(slices))
    if taken:
        raise ConfigurationError("A slice cannot have this name", ", ".join(taken), "Carry the column under another.")


def _same_rows(store: ArtifactStore, record: FeatureSet, model: GroupedModel, keys: pd.Series[Any]) -> pd.DataFrame:
    """Return the champion's features of the holdout's rows, in the order of the keys."""
    import pandas as pd

    from airflow_ml.runtime.part import open_dataset

    frame = _read(open_dataset(store.path(record.artifact)), [record.key, *model.columns], "The champion's feature set")
    index = pd.Index(frame[record.key])
    if not index.is_unique:
        raise FeatureViewMismatch(
            "The champion's features hold a key twice", str(index[index.duplicated()][0]), "Make the key unique."
        )
    rows: np.ndarray[Any, Any] = index.get_indexer(pd.Index(keys))
    lacking = int((rows < 0).sum())
    if lacking:
        raise FeatureViewMismatch(
            "The champion's features lack rows of the holdout",
            f"{lacking} of {len(keys)}",
            "Build the champion's view over the same spine.",
        )
    return frame.iloc[rows]


def _train_mean(path: Path, record: FeatureSet) -> float:
    import pyarrow as pa
    import pyarrow.compute as pc

    labels = Data(path, record).train.dataset.to_table(columns=[record.label], use_threads=False)[record.label]
    mean = pc.mean(labels.cast(pa.float64())).as_py()
    if mean is None:
        raise EmptyDataset("The training split has no labels", record.view, "Check the split's dates.")
    return float(mean)
