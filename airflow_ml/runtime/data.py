"""The data that a user's function is given: splits of one Parquet file, read when asked for.

Numbers and booleans become float64 with NaN for null, in training and in serving alike, so that a column without a null
today and one with a null tomorrow are the same type to a model. Strings become pandas categories.

Readers are opened on each use and run on the calling thread: a worker forked after this module was imported is safe.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.features import TEST, TRAIN, VALIDATE, FeatureSet
from airflow_ml.errors import ColumnMissing, ConfigurationError, HoldoutSealed
from airflow_ml.runtime.part import Part, open_dataset, select_splits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Data", "Part", "frame_for_model", "open_holdout"]

#: Rows that ``.X`` and the like load at most: 5 million rows of 20 numbers are 0.8 GB.
MAX_MEMORY_ROWS = 5_000_000


class Data:
    """One feature set, or one group of it. ``test`` is sealed.

    Args:
        path: The feature set's Parquet file, or what returns it when it is needed first.
        features: Its record.
        group: Column and value (as text) of the only rows to show; None for all.
        max_train_rows: Rows of ``train`` to show at most; a sample without replacement, in the order of the file.
        seed: Of that sample; the same seed gives the same rows.
        train_splits: What ``train`` consists of; a refit says ``("train", "validate")``.
        max_memory_rows: Rows that may be loaded at once.

    Raises:
        ColumnMissing: the file has no column of the group's name.
        ConfigurationError: the splits or limits make no sense.
    """

    def __init__(
        self,
        path: Path | Callable[[], Path],
        features: FeatureSet,
        *,
        group: tuple[str, str] | None = None,
        max_train_rows: int | None = None,
        seed: int = 0,
        train_splits: tuple[str, ...] = (TRAIN,),
        max_memory_rows: int = MAX_MEMORY_ROWS,
    ) -> None:
        if not train_splits or not set(train_splits) <= {TRAIN, VALIDATE}:
            raise ConfigurationError(
                "Not splits to train on", repr(train_splits), 'Use ("train",) or ("train", "validate").'
            )
        if max_train_rows is not None and max_train_rows < 1:
            raise ConfigurationError("max_train_rows is too small", max_train_rows, "Give at least 1, or None for all.")
        self._given = path
        #: The feature set's record.
        self.features = features
        self.group = group
        self.max_memory_rows = max_memory_rows
        self._train_options: dict[str, Any] = {"splits": train_splits, "max_rows": max_train_rows, "seed": seed}
        self._sealed = True

    @property
    def record(self) -> FeatureSet:
        """The feature set's record, as `features`."""
        return self.features

    @cached_property
    def path(self) -> Path:
        """The local, verified Parquet file."""
        return self._given() if callable(self._given) else Path(self._given)

    @cached_property
    def train(self) -> Part:
        """The rows to fit on."""
        return self._part(TRAIN, **self._train_options)

    @cached_property
    def validate(self) -> Part:
        """The rows to choose by."""
        return self._part(VALIDATE, splits=(VALIDATE,))

    @property
    def test(self) -> Part:
        """The holdout.

        Raises:
            HoldoutSealed: always, except for the model gate.
        """
        if self._sealed:
            raise HoldoutSealed(
                "The test split is sealed",
                self.features.view,
                "Choose by data.validate; gate_model opens the test split.",
            )
        return self._part(TEST, splits=(TEST,))

    @cached_property
    def categories(self) -> dict[str, list[str]]:
        """The sorted values of each string feature in the whole training split, whatever the group or sample.

        A model keeps them and gives them back to ``frame_for_model``.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        dataset = open_dataset(self.path)
        names = [name for name in self.features.features if pa.types.is_string(dataset.schema.field(name).type)]
        found: dict[str, set[str]] = {name: set() for name in names}
        if names:
            scanner = dataset.scanner(columns=names, filter=select_splits((TRAIN,)), use_threads=False)
            for batch in scanner.to_batches():
                for name in names:
                    found[name].update(pc.unique(batch.column(name)).to_pylist())
        return {name: sorted(values - {None}) for name, values in found.items()}

    def _part(self, name: str, **options: Any) -> Part:
        return Part(
            self.path,
            self.features,
            name=name,
            group=self.group,
            categories=lambda: self.categories,
            max_memory_rows=self.max_memory_rows,
            **options,
        )


def open_holdout(path: Path, features: FeatureSet, *, group: tuple[str, str] | None = None) -> Data:
    """Return data whose ``test`` is open. For the model gate only: a holdout that is looked at twice is none."""
    data = Data(path, features, group=group)
    data._sealed = False
    return data


def frame_for_model(
    frame: pd.DataFrame, features: Sequence[str], categories: Mapping[str, Sequence[str]] | None
) -> pd.DataFrame:
    """Return the features in their order and in the types that ``Data`` gave in training.

    Args:
        frame: Rows from anywhere: a feature file, a request. Its index is kept, further columns are dropped.
        features: The feature names in the order of training.
        categories: ``Data.categories`` of the training data. A value outside them becomes null: the model never saw it.
            None where the model has no string features.

    Raises:
        ColumnMissing: a feature is not a column of the frame.
        ConfigurationError: a numeric feature holds something that is not a number.
    """
    import pandas as pd

    missing = [name for name in features if name not in frame.columns]
    if missing:
        raise ColumnMissing(
            "Rows lack features of the model", ", ".join(missing), "Send every feature, null if unknown."
        )
    known = categories or {}
    columns: dict[str, Any] = {}
    for name in features:
        values = frame[name]
        if name in known:
            index, dtype = _categories(tuple(known[name]))
            columns[name] = pd.Categorical.from_codes(index.get_indexer(values.to_numpy(dtype=object)), dtype=dtype)
            continue
        try:
            columns[name] = values.to_numpy(dtype="float64", na_value=float("nan"))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"The feature {name} is a number to the model", str(error)[:160], "Send a number or null."
            ) from error
    return pd.DataFrame(columns, index=frame.index, columns=list(features))


@functools.lru_cache(maxsize=256)
def _categories(names: tuple[str, ...]) -> tuple[Any, Any]:
    """Return an index to look values up and the type of the result; making them costs more than a small request."""
    import pandas as pd

    return pd.Index(list(names), dtype=object), pd.CategoricalDtype(list(names))
