"""Codecs of tables and arrays: Parquet for pandas and Arrow, npy without pickle for numpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.errors import NoCodec
from airflow_ml.runtime.codecs import Codec, Written, is_instance

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

#: Half the time of the default snappy at two thirds of its size on the tables seen here.
_COMPRESSION = "zstd"
#: Column, and mark, of a series without a name.
_UNNAMED = "unnamed"


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """Return an Arrow schema as the columns of an artifact."""
    return tuple(Column(name=field.name, dtype=str(field.type)) for field in schema)


def _write_arrow(value: pa.Table, path: Path) -> Written:
    import pyarrow.parquet as pq

    pq.write_table(value, path, compression=_COMPRESSION)
    return Written(rows=value.num_rows, columns=columns_of(value.schema))


def _write_pandas(value: pd.DataFrame, path: Path) -> Written:
    import pyarrow as pa

    if not value.columns.is_unique or not all(isinstance(name, str) for name in value.columns):
        raise NoCodec(
            "A table needs text column names, each once",
            [str(name) for name in value.columns][:20],
            "Rename the columns.",
        )
    try:
        table = pa.Table.from_pandas(value)
    # Mixed types, objects and numbers that no Arrow type holds; Arrow's own errors of these are a TypeError and a
    # ValueError as well, but for a kind of column that it has no type for.
    except (pa.ArrowNotImplementedError, TypeError, ValueError, OverflowError) as error:
        raise NoCodec(
            "A column holds values that are not table data", str(error)[:300], "Give each column one type."
        ) from error
    return _write_arrow(table, path)


def _write_series(value: pd.Series[Any], path: Path) -> Written:
    """Write a table of one column; a series without a name has no name afterwards either."""
    if value.name is None:
        written = _write_pandas(value.to_frame(name=_UNNAMED), path)
        return Written(rows=written.rows, columns=written.columns, metadata={_UNNAMED: "yes"})
    return _write_pandas(value.to_frame(), path)


def _write_numpy(value: np.ndarray[Any, Any], path: Path) -> Written:
    import numpy as np

    if value.dtype.hasobject:
        raise NoCodec(
            "A numpy array of Python objects can be stored by pickle only",
            f"dtype {value.dtype}, shape {value.shape}",
            "Turn it into numbers, text of fixed width or a DataFrame.",
        )
    refuse_masked(value)
    with path.open("wb") as file:
        np.save(file, np.asarray(value), allow_pickle=False)
    return Written(rows=value.shape[0] if value.ndim else None, metadata={"shape": str(list(value.shape))})


def refuse_masked(value: np.ndarray[Any, Any], name: str = "") -> None:
    """Refuse an array with a mask, which no file format here has a place for: masked values would come back as values.

    Raises:
        NoCodec: it has one.
    """
    if is_instance(value, "numpy.MaskedArray"):
        raise NoCodec(
            "A masked array would lose its mask",
            f"{name or 'array'} of shape {value.shape}",
            "Return .filled(value), or a DataFrame with nulls.",
        )


def _read_pandas(path: Path, artifact: Artifact) -> pd.DataFrame:
    import pyarrow.parquet as pq

    frame: pd.DataFrame = pq.read_table(path).to_pandas()
    return frame


def _read_series(path: Path, artifact: Artifact) -> pd.Series[Any]:
    series: pd.Series[Any] = _read_pandas(path, artifact).iloc[:, 0]
    return series.rename(None) if _UNNAMED in artifact.metadata else series


def _write_dataset(value: Any, path: Path) -> Written:
    """Write batch by batch: a dataset may be larger than memory."""
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(path, value.schema, compression=_COMPRESSION) as writer:
        for batch in value.to_batches():
            writer.write_batch(batch)
            rows += batch.num_rows
    return Written(rows=rows, columns=columns_of(value.schema))


def _write_polars(value: Any, path: Path) -> Written:
    import pyarrow.parquet as pq

    write = value.sink_parquet if is_instance(value, "polars.LazyFrame") else value.write_parquet
    try:
        write(path, compression=_COMPRESSION)
    except Exception as error:  # polars' own classes; a column of Python objects is the usual cause
        raise NoCodec("A column holds values that are not table data", str(error)[:300], "Cast it first.") from error
    return Written(rows=pq.read_metadata(path).num_rows, columns=columns_of(pq.read_schema(path)))


def _read_dataset(path: Path, artifact: Artifact) -> Any:
    import pyarrow.dataset as ds

    return ds.dataset(path, format="parquet")


def _read_polars(path: Path, artifact: Artifact) -> Any:
    import polars as pl

    return pl.read_parquet(path)


def _read_polars_lazy(path: Path, artifact: Artifact) -> Any:
    import polars as pl

    return pl.scan_parquet(path)


def _read_arrow(path: Path, artifact: Artifact) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path)


def _read_numpy(path: Path, artifact: Artifact) -> np.ndarray[Any, Any]:
    import numpy as np

    try:
        # Not np.load, which takes a zip or a pickle for an array, too.
        with path.open("rb") as file:
            loaded: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise NoCodec(
            "Not an npy file, or one of pickled objects, which are never loaded",
            f"{artifact.digest}: {error}",
            "Store plain arrays.",
        ) from error
    return loaded


def _table(name: str, kind: str, write: Any, read: Any, *, format: str = "parquet") -> Codec:
    return Codec(name=name, format=format, handles=lambda value: is_instance(value, kind), write=write, read=read)


CODECS = (
    _table("pandas", "pandas.DataFrame", _write_pandas, _read_pandas),
    _table("series", "pandas.Series", _write_series, _read_series),
    _table("pyarrow", "pyarrow.Table", _write_arrow, _read_arrow),
    _table("dataset", "pyarrow.Dataset", _write_dataset, _read_dataset),
    _table("polars", "polars.DataFrame", _write_polars, _read_polars),
    _table("polars_lazy", "polars.LazyFrame", _write_polars, _read_polars_lazy),
    _table("numpy", "numpy.ndarray", _write_numpy, _read_numpy, format="npy"),
)
