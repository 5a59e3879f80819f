"""What a feature view is made of: the label, columns of the spine, and joins that look back from each row's time.

Each part says when its values are known. Column names are lower case, as the snapshot writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_ml.core.feature_names import column_name, column_names, microseconds, table_name
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError, FeatureKnownTooLate, NotARecord

#: As ``Input.known_at``: the promise that the value is known at the moment of prediction.
PREDICT_AT = "predict_at"


@dataclass(frozen=True, slots=True)
class Label:
    """What is predicted.

    Args:
        name: Column of the spine: a number, boolean or string; null where there will never be an outcome.
        known_at: Column of the spine with the time at which the label became known. A row enters a split only if its
            label was known in time.
    """

    name: str
    known_at: str

    def __post_init__(self) -> None:
        column_name(self.name, "a label")
        column_name(self.known_at, "the label's known_at")


@dataclass(frozen=True, slots=True)
class Input:
    """A column of the spine as a feature.

    Args:
        name: The column, and the feature's name.
        known_at: ``"predict_at"`` (the default, and what a plain string in ``inputs`` means) promises that the value is
            known at the moment of prediction. Otherwise a column of the spine with the time at which it became known:
            then the build proves it for every row and refuses the view with ``FeatureKnownTooLate`` if it is not so.
    """

    name: str
    known_at: str = PREDICT_AT

    def __post_init__(self) -> None:
        column_name(self.name, "an input")
        column_name(self.known_at, f"known_at of the input {self.name}")


@dataclass(frozen=True, slots=True, init=False)
class AsOf:
    """The newest row of another table that was there at ``predict_at``.

    That is the row with the greatest ``time`` of those with ``time + delay <= predict_at``; if it is older than
    ``max_age``, or there is none, the features are null. Of rows with the same keys and time the one with the greatest
    values counts, compared column by column in the order of ``columns``, so that a build is repeatable.

    Args:
        table: Name of the source.
        by: Columns with the same name in spine and table that must be equal; null matches nothing. They are used at the
            moment of prediction, so they must be known then.
        time: Timestamp column of the table: when the row was observed.
        delay: How long after ``time`` a row can be read at prediction time, for example ``"20min"``. No default,
            because ``"0s"`` is the usual cause of leaks.
        max_age: A row counts while ``predict_at - time <= max_age``. No default: how stale a value may be is a choice.
        columns: The columns that become features.
        prefix: Put before each column's name to make the feature's name.
    """

    table: str
    by: tuple[str, ...]
    time: str
    delay: str
    max_age: str
    columns: tuple[str, ...]
    prefix: str | None

    kind: ClassVar[str] = "as_of"

    def __init__(
        self,
        table: str,
        *,
        by: str | Sequence[str],
        time: str,
        delay: str,
        max_age: str,
        columns: str | Sequence[str],
        prefix: str | None = None,
    ) -> None:
        _set(self, table=table_name(table), by=column_names(by, f"by of {table}"), time=column_name(time, "time"))
        _set(self, columns=column_names(columns, f"columns of {table}"), prefix=prefix)
        _set(self, delay=delay, max_age=_positive(max_age, f"max_age of {table}"))
        if microseconds(delay) > microseconds(max_age):
            raise ConfigurationError(
                f"AsOf({table!r}) can never find a row: delay is longer than max_age",
                f"{delay} > {max_age}",
                "Raise max_age.",
            )

    @property
    def features(self) -> tuple[tuple[str, str], ...]:
        """Pairs of feature name and column of the table."""
        return _named(self.columns, self.prefix)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of the table that are read."""
        return tuple(dict.fromkeys((*self.by, self.time, *self.columns)))


@dataclass(frozen=True, slots=True, init=False)
class Lookup:
    """Facts of another table that do not change with time, such as a plane's number of seats.

    Args:
        table: Name of the source, with at most one row for each key.
        by: Columns with the same name in spine and table that must be equal; null matches nothing.
        columns: The columns that become features; null where the key is not in the table.
        static: The author's promise that the facts never change. Facts that do change need an ``AsOf``.
        prefix: Put before each column's name to make the feature's name.
    """

    table: str
    by: tuple[str, ...]
    columns: tuple[str, ...]
    static: bool
    prefix: str | None

    kind: ClassVar[str] = "lookup"

    def __init__(
        self,
        table: str,
        *,
        by: str | Sequence[str],
        columns: str | Sequence[str],
        static: bool = False,
        prefix: str | None = None,
    ) -> None:
        if static is not True:
            raise FeatureKnownTooLate(
                f"Lookup({table!r}) says nothing of when its values were known",
                f"static={static!r}",
                "Use AsOf with a time column, or say static=True if these facts never change.",
            )
        _set(self, table=table_name(table), by=column_names(by, f"by of {table}"))
        _set(self, columns=column_names(columns, f"columns of {table}"), static=static, prefix=prefix)

    @property
    def features(self) -> tuple[tuple[str, str], ...]:
        """Pairs of feature name and column of the table."""
        return _named(self.columns, self.prefix)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of the table that are read."""
        return tuple(dict.fromkeys((*self.by, *self.columns)))


@dataclass(frozen=True, slots=True, init=False)
class Rolling:
    """A sum over the rows of a table that became known in the window before ``predict_at``.

    The window is half open: ``predict_at - window < known_at <= predict_at``. Exactly one of ``mean``, ``sum`` and
    ``count`` is given. Nulls in the column are left out; an empty window gives a null mean, and 0 for sum and count.

    Args:
        table: Name of the source; the history of the spine's own table is a usual one.
        by: Columns with the same name in spine and table that must be equal; null matches nothing.
        mean: Column whose mean is the feature (a boolean counts as 0 or 1).
        sum: Column whose sum is the feature.
        count: Count the rows.
        known_at: Timestamp column of the table: when the row became known.
        window: Length, for example ``"7d"``.
        name: The feature's name; by default made of the other arguments, as in ``late_mean_7d_by_origin_dest``.
    """

    table: str
    by: tuple[str, ...]
    mean: str | None
    sum: str | None
    count: bool
    known_at: str
    window: str
    name: str

    kind: ClassVar[str] = "rolling"

    def __init__(
        self,
        table: str,
        *,
        by: str | Sequence[str],
        mean: str | None = None,
        sum: str | None = None,
        count: bool = False,
        known_at: str | None = None,
        window: str,
        name: str | None = None,
    ) -> None:
        if (mean is not None) + (sum is not None) + bool(count) != 1:
            raise ConfigurationError(
                f"Rolling({table!r}) needs exactly one of mean, sum and count",
                f"mean={mean!r}, sum={sum!r}, count={count!r}",
                "Declare one Rolling for each figure.",
            )
        if known_at is None:
            raise FeatureKnownTooLate(
                f"Rolling({table!r}) says nothing of when its rows are known",
                "known_at=None",
                "Name the table's timestamp column in known_at, for example when the outcome arrived.",
            )
        _set(self, table=table_name(table), by=column_names(by, f"by of {table}"), count=bool(count))
        _set(self, mean=mean, sum=sum, known_at=column_name(known_at, "known_at"))
        _set(self, window=_positive(window, f"window of {table}"))
        figure = f"{mean}_mean" if mean else f"{sum}_sum" if sum else f"{table.replace('.', '_')}_count"
        own = f"{figure}_{window.replace(' ', '').replace('.', '_')}_by_{'_'.join(self.by)}"
        _set(self, name=column_name(name or own, "a rolling feature"))
        if self.column is not None:
            column_name(self.column, "the column of a Rolling")

    @property
    def column(self) -> str | None:
        """The column that is summed; None for a count."""
        return self.mean or self.sum

    @property
    def features(self) -> tuple[tuple[str, str], ...]:
        """One pair of feature name and column (empty for a count)."""
        return ((self.name, self.column or ""),)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of the table that are read."""
        return tuple(dict.fromkeys((*self.by, self.known_at, *((self.column,) if self.column else ()))))


Join = AsOf | Lookup | Rolling

_KINDS: dict[str, type[AsOf] | type[Lookup] | type[Rolling]] = {k.kind: k for k in (AsOf, Lookup, Rolling)}


def join_to_dict(join: Join) -> dict[str, JSON]:
    """Return a join as JSON: its arguments and its ``kind``."""
    fields = {name: getattr(join, name) for name in join.__dataclass_fields__}
    return {"kind": join.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}}


def join_from_dict(data: Mapping[str, Any]) -> Join:
    """Read a join back.

    Raises:
        NotARecord: for an unknown kind or wrong arguments.
    """
    arguments = dict(data)
    kind = _KINDS.get(arguments.pop("kind", ""))
    if kind is None:
        raise NotARecord("Not a join of a feature view", repr(dict(data))[:160], f"Known kinds: {sorted(_KINDS)}.")
    try:
        return kind(**arguments)
    except TypeError as error:
        raise NotARecord(
            f"The {kind.__name__} of a feature view is damaged", str(error), "Pass what to_dict() returns."
        ) from error


def _positive(duration: str, what: str) -> str:
    if microseconds(duration) <= 0:
        raise ConfigurationError(f"{what} must be longer than nothing", repr(duration), 'Write for example "3h".')
    return duration


def _named(columns: tuple[str, ...], prefix: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((column_name(f"{prefix or ''}{column}", "a feature"), column) for column in columns)


def _set(piece: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(piece, name, value)
