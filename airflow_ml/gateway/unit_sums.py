"""From a SELECT over units in SQLite to samples and counts, the same for answers given and for pairs in shadow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from airflow_ml.core.ports import Sample

#: Over the common table expression ``unit`` of ``arm, stratum, unit, x, n, waiting, squares``. A unit whose requests
#: have no outcome is no unit yet.
_SUMS = """
SELECT arm, stratum, sum(n > 0), sum(n), total(x), total(x * x), total(n * n), total(x * n), sum(waiting),
  total(squares)
FROM unit GROUP BY arm, stratum ORDER BY arm, stratum
"""


def samples_of(connection: sqlite3.Connection, units: str, values: Mapping[str, str | int]) -> Iterator[Sample]:
    """Yield a sample for each arm and stratum.

    Args:
        connection: To the log, inside a transaction.
        units: ``WITH unit AS (...)``, perhaps with more.
        values: Bound.
    """
    for row in connection.execute(units + _SUMS, values):
        arm, stratum, count, requests, sum_x, sum_xx, sum_nn, sum_xn, waiting, squares = row
        yield Sample(
            variant=arm,
            stratum=stratum,
            units=count,
            requests=requests,
            sum_x=sum_x,
            sum_xx=sum_xx,
            sum_nn=sum_nn,
            sum_xn=sum_xn,
            waiting=waiting,
            sum_squares=squares,
        )


def counts_of(
    connection: sqlite3.Connection, statement: str, values: Mapping[str, str | int]
) -> dict[str, dict[str, int]]:
    """Return the counts of a SELECT of ``arm, stratum, count``, by arm and stratum."""
    found: dict[str, dict[str, int]] = {}
    for arm, stratum, count in connection.execute(statement, values):
        found.setdefault(arm, {})[stratum] = count
    return found
