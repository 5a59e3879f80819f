"""The rows of one request, column by column: what scoring and logging go through without touching each row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple, Protocol

from airflow_ml.core.record import JSON


class Row(NamedTuple):
    """One row to score."""

    key: str
    #: The randomization unit: all rows of a unit are answered by one variant.
    unit: str
    #: The moment of prediction on the data clock, UTC.
    at: datetime
    #: Feature values by view digest.
    features: Mapping[str, Mapping[str, JSON]]


class Table(NamedTuple):
    """Features for one model."""

    rows: int
    #: Values by feature, ``rows`` each.
    columns: Mapping[str, Sequence[JSON]]


class Features(Protocol):
    """Feature values of all rows, however they came."""

    def names(self, index: int) -> Mapping[str, Collection[str]]:
        """Return the names of a row's features by view."""
        ...

    def fitting(self, view: str, names: frozenset[str], indices: Sequence[int]) -> Sequence[int]:
        """Return those of the rows that have all the features of a view."""
        ...

    def take(self, view: str, names: Sequence[str], indices: Sequence[int]) -> Table:
        """Return features of a view for rows that have them."""
        ...


@dataclass(frozen=True, slots=True)
class RowFeatures:
    """Each row with its own ``{view: {feature: value}}``."""

    rows: Sequence[Mapping[str, Mapping[str, JSON]]]

    def names(self, index: int) -> Mapping[str, Collection[str]]:
        """Return the names of a row's features by view."""
        return self.rows[index]

    def fitting(self, view: str, names: frozenset[str], indices: Sequence[int]) -> Sequence[int]:
        """Return those of the rows that have all the features of a view."""
        rows = self.rows
        return [index for index in indices if (values := rows[index].get(view)) is not None and values.keys() >= names]

    def take(self, view: str, names: Sequence[str], indices: Sequence[int]) -> Table:
        """Return features of a view for rows that have them."""
        rows = [self.rows[index][view] for index in indices]
        return Table(len(rows), {name: list(map(itemgetter(name), rows)) for name in names})


@dataclass(frozen=True, slots=True)
class ColumnFeatures:
    """``{view: {feature: [a value for each row]}}``."""

    rows: int
    views: Mapping[str, Mapping[str, Sequence[JSON]]]

    def names(self, index: int) -> Mapping[str, Collection[str]]:
        """Return the names of a row's features by view."""
        return self.views

    def fitting(self, view: str, names: frozenset[str], indices: Sequence[int]) -> Sequence[int]:
        """Return those of the rows that have all the features of a view: all or none."""
        columns = self.views.get(view)
        return indices if columns is not None and columns.keys() >= names else ()

    def take(self, view: str, names: Sequence[str], indices: Sequence[int]) -> Table:
        """Return features of a view for rows that have them."""
        columns = self.views[view]
        if len(indices) == self.rows:
            return Table(self.rows, {name: columns[name] for name in names})
        if len(indices) == 1:
            return Table(1, {name: (columns[name][indices[0]],) for name in names})
        pick = itemgetter(*indices)
        return Table(len(indices), {name: pick(columns[name]) for name in names})


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one request; all lists are of one length."""

    keys: Sequence[str]
    units: Sequence[str]
    #: UTC.
    at: Sequence[datetime]
    features: Features
    #: Whether the request came in columns; its answer then does, too.
    columnar: bool = False

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Batch:
        """Return the batch of some rows."""
        return cls(
            [row.key for row in rows],
            [row.unit for row in rows],
            [row.at for row in rows],
            RowFeatures([row.features for row in rows]),
        )

    def __len__(self) -> int:
        return len(self.keys)
