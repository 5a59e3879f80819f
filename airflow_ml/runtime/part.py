"""One split of a feature set, in the form that a library asks for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.feature_view import SPLIT
from airflow_ml.core.features import FeatureSet
from airflow_ml.errors import ColumnMissing, ConfigurationError, DataTooLarge, EmptyDataset, MissingDependency

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds


def open_dataset(path: Path) -> ds.Dataset:
    """Open a Parquet file, mapped into memory; only the row groups and columns that are asked for are read."""
    import pyarrow.dataset as ds
    from pyarrow import fs

    return ds.dataset(str(path), format="parquet", filesystem=fs.LocalFileSystem(use_mmap=True))


def select_splits(splits: Sequence[str]) -> ds.Expression:
    """Return the filter on the ``split`` column."""
    import pyarrow.dataset as ds

    return ds.field(SPLIT).isin(list(splits))


class Part:
    """Rows of one split; nothing is read before it is asked for, and what was loaded is kept."""

    def __init__(
        self,
        path: Path,
        features: FeatureSet,
        *,
        name: str,
        splits: Sequence[str],
        group: tuple[str, str] | None,
        categories: Callable[[], Mapping[str, list[str]]],
        max_rows: int | None = None,
        seed: int = 0,
        max_memory_rows: int,
    ) -> None:
        self.name = name
        self._path, self._features, self._splits, self._group = path, features, tuple(splits), group
        self._categories, self._max_rows, self._seed = categories, max_rows, seed
        self._max_memory_rows = max_memory_rows

    @property
    def rows(self) -> int:
        """The number of rows; 0 if a group has none."""
        return self._available if self._max_rows is None else min(self._available, self._max_rows)

    @property
    def X(self) -> pd.DataFrame:
        """The features, one row each, as float64 and categories; null is NaN.

        Raises:
            DataTooLarge, EmptyDataset.
        """
        import pandas as pd

        loaded: pd.DataFrame = self._loaded[0]
        # Below 3.0 pandas writes a change of a shallow copy into the original, which the next trial would be given.
        return loaded.copy(deep=int(pd.__version__.partition(".")[0]) < 3)

    @property
    def y(self) -> np.ndarray[Any, Any]:
        """The label, shape ``(rows,)``: int64 (booleans as 0 and 1), float64, or strings.

        Raises:
            DataTooLarge, EmptyDataset.
        """
        return self._loaded[1].copy()

    def xy(self) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
        """Return ``(X, y)``, ready for ``model.fit(*data.train.xy())``; raises as they do."""
        return self.X, self.y

    @property
    def frame(self) -> pd.DataFrame:
        """Every column: key, predict_at, label, split, the carried ones, and the features as in ``X``.

        Raises:
            DataTooLarge, EmptyDataset.
        """
        import pandas as pd

        self._check_size()
        table = self._read(None)
        others = table.select([name for name in table.column_names if name not in self._features.features])
        frame: pd.DataFrame = pd.concat([others.to_pandas(), self._model_frame(table)], axis="columns")
        return frame

    @property
    def dataset(self) -> ds.Dataset:
        """The rows as a pyarrow dataset, for everything else; ``max_train_rows`` does not apply to it."""
        return open_dataset(self._path).filter(self._filter)

    def batches(self, n_rows: int) -> Iterator[tuple[pd.DataFrame, np.ndarray[Any, Any]]]:
        """Yield ``(X, y)`` of ``n_rows`` rows each (the last one fewer), in the order of ``predict_at``.

        Never more than a batch and a row group are in memory, however large the data is.

        Raises:
            ConfigurationError: ``n_rows`` is not positive.
        """
        if n_rows < 1:
            raise ConfigurationError("A batch needs rows", n_rows, "Give a positive number.")
        for table in self._tables([*self._features.features, self._features.label], n_rows):
            yield self._model_frame(table), self._labels(table)

    def torch(self, batch_size: int) -> Any:
        """Return a ``torch.utils.data.DataLoader`` of ``(float32 (n, features), label (n,))``, in the order of time.

        Categories are their codes, null is NaN (-1 for categories).

        Raises:
            MissingDependency: torch is not installed.
            ConfigurationError: ``batch_size`` is not positive, or the label is a string.
        """
        try:
            torch: Any = importlib.import_module("torch")
        except ImportError as error:
            raise MissingDependency("data.torch needs a package", "torch", "Install torch, or use .batches.") from error
        import numpy

        part = self

        def tensor(values: np.ndarray[Any, Any]) -> Any:
            # Training may change a batch in place; what pandas lends is read-only then, and is copied.
            return torch.from_numpy(numpy.require(values, requirements="W"))

        class Rows(torch.utils.data.IterableDataset):  # type: ignore[misc]
            def __iter__(self) -> Iterator[tuple[Any, Any]]:
                for X, y in part.batches(batch_size):
                    yield tensor(_matrix(X)), tensor(_numeric(y))

        if batch_size < 1:
            raise ConfigurationError("A batch needs rows", batch_size, "Give a positive number.")
        return torch.utils.data.DataLoader(Rows(), batch_size=None)

    @cached_property
    def _filter(self) -> ds.Expression:
        import pyarrow as pa
        import pyarrow.dataset as ds

        where = select_splits(self._splits)
        if self._group is None:
            return where
        column, value = self._group
        schema = open_dataset(self._path).schema
        if column not in schema.names:
            raise ColumnMissing("No such column to group by", column, f"The feature set has {', '.join(schema.names)}.")
        # The value is cast, not the column: so the file's statistics still say which row groups to skip.
        return where & (ds.field(column) == pa.scalar(value).cast(schema.field(column).type))

    @cached_property
    def _available(self) -> int:
        scanner = open_dataset(self._path).scanner(columns=[], filter=self._filter, use_threads=False)
        return int(scanner.count_rows())

    @cached_property
    def _picked(self) -> np.ndarray[Any, Any] | None:
        """Positions of the sampled rows, in order; None for all rows."""
        import numpy as np

        if self._max_rows is None or self._available <= self._max_rows:
            return None
        generator = np.random.default_rng(self._seed)
        return np.sort(generator.choice(self._available, size=self._max_rows, replace=False))

    @cached_property
    def _loaded(self) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
        self._check_size()
        table = self._read([*self._features.features, self._features.label])
        return self._model_frame(table), self._labels(table)

    def _check_size(self) -> None:
        where = f" of {self._group[0]} {self._group[1]!r}" if self._group else ""
        if not self.rows:
            raise EmptyDataset(
                f"The split {self.name}{where} has no rows",
                self._features.view,
                "Leave the group out, or ask .rows first.",
            )
        if self.rows > self._max_memory_rows:
            raise DataTooLarge(
                f"The split {self.name}{where} has more rows than the limit of {self._max_memory_rows} in memory",
                self.rows,
                "Use .batches(n_rows), or set max_train_rows.",
            )

    def _read(self, columns: list[str] | None) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables(self._tables(columns, None))

    def _tables(self, columns: list[str] | None, n_rows: int | None) -> Iterator[pa.Table]:
        """Yield the (sampled) rows as tables of ``n_rows``, or as they come."""
        import pyarrow as pa

        dataset = open_dataset(self._path)
        scanner = dataset.scanner(columns=columns, filter=self._filter, use_threads=False)
        waiting: pa.Table | None = None
        for table in self._sampled(scanner):
            waiting = table if waiting is None else pa.concat_tables([waiting, table])
            size = n_rows or waiting.num_rows
            while size and waiting.num_rows >= size:
                yield waiting.slice(0, size)
                waiting = waiting.slice(size)
        if waiting is not None and waiting.num_rows:
            yield waiting

    def _sampled(self, scanner: ds.Scanner) -> Iterator[pa.Table]:
        import numpy as np
        import pyarrow as pa

        picked, offset = self._picked, 0
        for batch in scanner.to_batches():
            table = pa.Table.from_batches([batch])
            if picked is not None:
                first, last = np.searchsorted(picked, [offset, offset + batch.num_rows])
                table = table.take(pa.array(picked[first:last] - offset))
            offset += batch.num_rows
            if table.num_rows:
                yield table

    def _model_frame(self, table: pa.Table) -> pd.DataFrame:
        import pandas as pd
        import pyarrow as pa
        import pyarrow.compute as pc

        categories = self._categories()
        columns: dict[str, Any] = {}
        for name in self._features.features:
            values = table.column(name)
            if name in categories:
                known = pa.array(categories[name], pa.string())
                codes = pc.fill_null(pc.index_in(values, value_set=known, skip_nulls=True), -1).to_numpy()
                columns[name] = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories[name]))
            else:
                columns[name] = values.cast(pa.float64(), safe=False).to_numpy()
        return pd.DataFrame(columns, columns=list(self._features.features))

    def _labels(self, table: pa.Table) -> np.ndarray[Any, Any]:
        import pyarrow as pa

        values = table.column(self._features.label)
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int64())
        return values.to_numpy()  # type: ignore[no-any-return,unused-ignore]


def _matrix(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    import numpy as np

    columns = [frame[name] for name in frame.columns]
    return np.column_stack([c.cat.codes if c.dtype == "category" else c for c in columns]).astype(np.float32)


def _numeric(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if labels.dtype == object:
        raise ConfigurationError(
            "torch takes no strings as labels", repr(labels[:3].tolist()), "Use a number or boolean."
        )
    return labels
