"""The rows of a snapshot or of any table in the store, read as far as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.core.spelling import did_you_mean
from airflow_ml.errors import ColumnMissing, ConfigurationError, DataTooLarge
from airflow_ml.runtime.data import MAX_MEMORY_ROWS
from airflow_ml.runtime.part import open_dataset

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds


class Rows:
    """A table in the store. Nothing is fetched before it is asked for.

    A `@task.ml` function is given it for a `DatasetSnapshot`, for a table of more than 256 MiB, and for any table where
    the parameter says so: ``def count(flights: Rows)``.

    Args:
        record: The snapshot, or the Parquet artifact itself. Its fields are also fields of this object.
        open: Returns the local, verified file.
        max_memory_rows: Rows that ``frame`` loads at most.
    """

    def __init__(
        self, record: DatasetSnapshot | Artifact, open: Callable[[], Path], *, max_memory_rows: int = MAX_MEMORY_ROWS
    ) -> None:
        self.record = record
        self.max_memory_rows = max_memory_rows
        self._open = open

    @cached_property
    def path(self) -> Path:
        """The local, verified, read-only Parquet file."""
        return self._open()

    @property
    def dataset(self) -> ds.Dataset:
        """The rows as a pyarrow dataset; only the columns and row groups that are used are read."""
        return open_dataset(self.path)

    @property
    def rows(self) -> int:
        """Their number."""
        return int(self.record.rows) if self.record.rows is not None else int(self.dataset.count_rows())

    def __len__(self) -> int:
        return self.rows

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame.

        Args:
            columns: Those to read; None (default) for all.

        Raises:
            DataTooLarge: more than ``max_memory_rows`` rows.
            ColumnMissing: a column is not there.
        """
        if self.rows > self.max_memory_rows:
            raise DataTooLarge(
                "More rows than may be loaded at once",
                f"{self.rows} rows, the limit is {self.max_memory_rows}",
                "Use .batches(n_rows) or .dataset.",
            )
        import pyarrow.parquet as pq

        frame: pd.DataFrame = pq.read_table(self.path, columns=self._known(columns)).to_pandas()
        return frame

    def batches(self, n_rows: int, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield frames of at most ``n_rows`` rows; never more than a batch and a row group are in memory.

        Raises:
            ConfigurationError: ``n_rows`` is not positive.
            ColumnMissing: a column is not there.
        """
        if n_rows < 1:
            raise ConfigurationError("A batch needs rows", n_rows, "Give a positive number.")
        scanner = self.dataset.scanner(columns=self._known(columns), batch_size=n_rows)
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield batch.to_pandas()

    def _known(self, columns: Sequence[str] | None) -> list[str] | None:
        """Return the columns as a list, where all are there; one name alone is a list of one."""
        if columns is None:
            return None
        wanted, there = [columns] if isinstance(columns, str) else list(columns), self.dataset.schema.names
        missing = [name for name in wanted if name not in there]
        if missing:
            raise ColumnMissing(
                "The rows have no such columns",
                ", ".join(missing),
                f"{did_you_mean(missing[0], there)}There are {', '.join(there[:30])}.",
            )
        return wanted

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return getattr(self.__dict__["record"], name)
        except (AttributeError, KeyError):
            raise AttributeError(
                f"These rows are read when asked for and have no {name!r}: use .frame(), .batches(n_rows) or .dataset"
            ) from None

    def __repr__(self) -> str:
        return f"Rows({self.rows} rows, {self.record.fingerprint[:19]})"
