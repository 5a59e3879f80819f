"""Pairs of scores of one request in SQLite: the champion's that was given, and a challenger's that was not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from airflow_ml.core.arms import SHADOW_STEP, paired_name
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.ports import Reading, Sample

SCHEMA = """
CREATE TABLE IF NOT EXISTS shadow (
  model TEXT NOT NULL, epoch INTEGER NOT NULL, key TEXT NOT NULL, arm TEXT NOT NULL, version TEXT NOT NULL,
  score REAL NOT NULL, PRIMARY KEY (model, epoch, key, arm)
) WITHOUT ROWID;
"""
INSERT = "INSERT INTO shadow VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_PAIRS = f"""
FROM shadow AS s JOIN prediction AS p ON p.model = s.model AND p.epoch = s.epoch AND p.key = s.key
LEFT JOIN outcome AS o ON o.model = p.model AND o.key = p.key
WHERE s.model = :model AND s.epoch = :epoch AND p.step = '{SHADOW_STEP}'
"""


def read_pairs(
    connection: sqlite3.Connection, expression: str, values: Mapping[str, str | int], watermark: str | None
) -> Reading:
    """Return the differences of a metric between challengers in shadow and the champion, by arm and data day.

    Args:
        connection: To the log, inside a transaction.
        expression: The metric over ``p.score`` and ``o.label``.
        values: ``model``, ``epoch`` and ``day``, the watermark's.
        watermark: As it is stored.
    """
    assigned: dict[str, dict[str, int]] = {}
    for arm, stratum, units in connection.execute(
        f"SELECT s.arm, '{SHADOW_STEP}/' || substr(p.at, 1, 10), count(DISTINCT p.unit) {_PAIRS} GROUP BY 1, 2",
        values,
    ):
        assigned.setdefault(paired_name(arm), {})[stratum] = units
    return Reading(
        samples=tuple(_samples(connection, expression, values)),
        watermark_at=None if watermark is None else parse_time(watermark),
        assigned=assigned,
    )


def _samples(connection: sqlite3.Connection, expression: str, values: Mapping[str, str | int]) -> Iterator[Sample]:
    difference = f"({expression.replace('p.score', 's.score')}) - ({expression})"
    statement = f"""
WITH unit AS (
  SELECT s.arm, '{SHADOW_STEP}/' || substr(p.at, 1, 10) AS stratum, p.unit, total({difference}) AS x,
    count(o.label) AS n, sum(o.key IS NULL) AS waiting, total(({difference}) * ({difference})) AS squares
  {_PAIRS} AND p.at < :day
  GROUP BY 1, 2, 3
)
SELECT arm, stratum, sum(n > 0), sum(n), total(x), total(x * x), total(n * n), total(x * n), sum(waiting),
  total(squares)
FROM unit GROUP BY arm, stratum ORDER BY arm, stratum
"""  # noqa: S608 - constants; values are bound
    for row in connection.execute(statement, values):
        arm, stratum, units, requests, sum_x, sum_xx, sum_nn, sum_xn, waiting, squares = row
        yield Sample(
            variant=paired_name(arm),
            stratum=stratum,
            units=units,
            requests=requests,
            sum_x=sum_x,
            sum_xx=sum_xx,
            sum_nn=sum_nn,
            sum_xn=sum_xn,
            waiting=waiting,
            sum_squares=squares,
        )
