"""Pairs of scores of one request in SQLite: the champion's that was given, and a challenger's that was not."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace

from airflow_ml.core.arms import SHADOW_STEP, paired_name
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.ports import Reading
from airflow_ml.gateway.unit_sums import counts_of, samples_of

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
    difference = f"({expression.replace('p.score', 's.score')}) - ({expression})"
    units = f"""
WITH unit AS (
  SELECT s.arm, '{SHADOW_STEP}/' || substr(p.at, 1, 10) AS stratum, p.unit, total({difference}) AS x,
    count(o.label) AS n, sum(o.key IS NULL) AS waiting, total(({difference}) * ({difference})) AS squares
  {_PAIRS} AND p.at < :day
  GROUP BY 1, 2, 3
)"""
    everybody = f"SELECT s.arm, '{SHADOW_STEP}/' || substr(p.at, 1, 10), count(DISTINCT p.unit) {_PAIRS} GROUP BY 1, 2"
    return Reading(
        samples=tuple(replace(one, variant=paired_name(one.variant)) for one in samples_of(connection, units, values)),
        watermark_at=None if watermark is None else parse_time(watermark),
        assigned={paired_name(arm): strata for arm, strata in counts_of(connection, everybody, values).items()},
    )
