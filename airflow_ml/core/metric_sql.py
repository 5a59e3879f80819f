"""The sufficient statistics of a metric as SQL: one row for each (variant, stratum), summed where the data lies.

Written for Snowflake; plain enough for DuckDB, Postgres and others. Values are bound: ``%(model)s``, ``%(epoch)s``,
``%(day)s`` (the watermark's day: only days before it count), ``%(champion)s``, ``%(challenger)s`` and ``%(least)s``.
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_ml.core.arms import SHADOW_STEP
from airflow_ml.core.metric_query import SqlOutcomes

#: Over ``score`` and ``label``. Scores are kept 1e-15 away from 0 and 1 in the logarithm, as scikit-learn once did.
METRICS: Mapping[str, str] = {
    "brier": "(score - label) * (score - label)",
    "squared_error": "(score - label) * (score - label)",
    "mae": "ABS(score - label)",
    "log_loss": (
        "-(label * LN(GREATEST(LEAST(score, 1 - 1e-15), 1e-15))"
        " + (1 - label) * LN(GREATEST(LEAST(1 - score, 1 - 1e-15), 1e-15)))"
    ),
}
OF_PROBABILITIES = frozenset({"brier", "log_loss"})


def assigned_sql(query: SqlOutcomes) -> str:
    """Return the SELECT of ``arm, stratum, units``: everybody who was exposed, with an outcome or not.

    A stratum without a day, ``25``, has each unit once, over all days.

    Two rows have an empty arm: of the stratum ``crossed`` the units that two arms answered at one weight, of ``all``
    every unit, both once for each weight.
    """
    return f"""WITH mine AS (
  SELECT assigned, step, data_day, unit FROM {query.exposures_sql} AS e WHERE model = %(model)s AND epoch = %(epoch)s
),
by_weight AS (SELECT step, unit, COUNT(DISTINCT assigned) AS arms FROM mine WHERE unit <> '' GROUP BY 1, 2)
SELECT assigned AS arm, step || '/' || data_day AS stratum, COUNT(DISTINCT unit) AS units FROM mine GROUP BY 1, 2
UNION ALL SELECT assigned, step, COUNT(DISTINCT unit) FROM mine WHERE unit <> '' GROUP BY 1, 2
UNION ALL SELECT '', 'crossed', SUM(CASE WHEN arms > 1 THEN 1 ELSE 0 END) FROM by_weight
UNION ALL SELECT '', 'all', COUNT(*) FROM by_weight
ORDER BY 1, 2"""


def samples_sql(query: SqlOutcomes, expression: str, slice_expression: str = "''") -> str:
    """Return the SELECT of the sums: ``arm, stratum, slice, units, requests, x, xx, nn, xn, waiting, squares`` and,
    with a covariate, ``c, cc, xc, nc``.
    """
    sums = (
        "SUM(CASE WHEN n > 0 THEN 1 ELSE 0 END), SUM(n), SUM(x), SUM(x * x), SUM(n * n), SUM(x * n), SUM(waiting),\n"
        "  SUM(squares)"
    )
    if not query.covariate:
        return (
            f"{_units(query, expression, slice_expression)}\nSELECT arm, stratum, slice_name, {sums}\n"
            "FROM units GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
    of_unit = "CASE WHEN n > 0 THEN COALESCE(c.value, a.value) ELSE 0 END"
    return f"""{_units(query, expression, slice_expression)},
covariate AS (SELECT CAST(unit AS VARCHAR) AS unit, CAST(value AS DOUBLE) AS value FROM {query.covariate_sql} AS v),
average AS (SELECT COALESCE(AVG(value), 0) AS value FROM covariate),
known AS (
  SELECT u.*, {of_unit} AS c
  FROM units AS u LEFT JOIN covariate AS c ON c.unit = u.unit CROSS JOIN average AS a
)
SELECT arm, stratum, slice_name, {sums}, SUM(c), SUM(c * c), SUM(x * c), SUM(n * c)
FROM known GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""


def unit_squares_sql(query: SqlOutcomes, expression: str) -> str:
    """Return the SELECT of ``units, squares``: the sum over units of their squared scores (core/unit_scores.py)."""
    return f"""{_units(query, expression, "''")},
of_stratum AS (
  SELECT stratum, SUM(x) / SUM(n) AS mean, SUM(CASE WHEN arm = %(challenger)s THEN n ELSE 0 END) / SUM(n) AS share
  FROM units WHERE n > 0 AND arm IN (%(champion)s, %(challenger)s) GROUP BY stratum
  HAVING SUM(CASE WHEN arm = %(champion)s THEN 1 ELSE 0 END) >= %(least)s
    AND SUM(CASE WHEN arm = %(challenger)s THEN 1 ELSE 0 END) >= %(least)s
),
scores AS (
  SELECT u.unit, SUM((u.x - t.mean * u.n) * CASE WHEN u.arm = %(challenger)s THEN 1 - t.share ELSE -t.share END) AS s
  FROM units AS u JOIN of_stratum AS t ON t.stratum = u.stratum
  WHERE u.n > 0 AND u.arm IN (%(champion)s, %(challenger)s) GROUP BY u.unit
)
SELECT COUNT(*), COALESCE(SUM(s * s), 0) FROM scores"""


def paired_assigned_sql(query: SqlOutcomes) -> str:
    """Return the SELECT of ``arm, stratum, units``: everybody whose requests were scored in shadow."""
    return f"""SELECT p.arm, '{SHADOW_STEP}/' || e.data_day AS stratum, COUNT(DISTINCT e.unit) AS units
{_pairs(query)}
GROUP BY 1, 2 ORDER BY 1, 2"""


def paired_sql(query: SqlOutcomes, expression: str) -> str:
    """Return the SELECT of the sums over differences, a challenger's in shadow minus the champion's.

    Columns as of `samples_sql` without a covariate; the slice is empty.
    """
    columns = "arm, data_day, unit, label, waiting"
    return f"""WITH pairs AS (
  SELECT p.arm AS arm, e.data_day AS data_day, CAST(e.unit AS VARCHAR) AS unit, CAST(p.score AS DOUBLE) AS score,
    CAST(e.score AS DOUBLE) AS ours, CAST(o.label AS DOUBLE) AS label,
    CASE WHEN o.key IS NULL THEN 1 ELSE 0 END AS waiting
  {_pairs(query)} AND e.data_day < %(day)s
),
theirs AS (SELECT {columns}, ours, CASE WHEN label IS NULL THEN NULL ELSE {expression} END AS loss FROM pairs),
mine AS (SELECT {columns}, loss, ours AS score FROM theirs),
compared AS (SELECT {columns}, CASE WHEN label IS NULL THEN NULL ELSE loss - ({expression}) END AS x FROM mine),
units AS (
  SELECT arm, '{SHADOW_STEP}/' || data_day AS stratum, unit, COUNT(label) AS n, SUM(waiting) AS waiting,
    COALESCE(SUM(x), 0) AS x, COALESCE(SUM(x * x), 0) AS squares
  FROM compared GROUP BY 1, 2, 3
)
SELECT arm, stratum, '' AS slice_name, SUM(CASE WHEN n > 0 THEN 1 ELSE 0 END), SUM(n), SUM(x), SUM(x * x), SUM(n * n),
  SUM(x * n), SUM(waiting), SUM(squares)
FROM units GROUP BY 1, 2 ORDER BY 1, 2"""


def _pairs(query: SqlOutcomes) -> str:
    return f"""FROM {query.shadow_sql} AS p
  JOIN {query.exposures_sql} AS e ON e.model = p.model AND e.epoch = p.epoch AND e.key = p.key
  LEFT JOIN {query.outcomes_sql} AS o ON o.key = e.key
  WHERE p.model = %(model)s AND p.epoch = %(epoch)s AND e.step = '{SHADOW_STEP}'"""


def improbable_sql(query: SqlOutcomes) -> str:
    """Return the SELECT of at most one request whose score or label is not a probability."""
    return f"""SELECT e.key, e.score, o.label
FROM {query.exposures_sql} AS e JOIN {query.outcomes_sql} AS o ON o.key = e.key
WHERE e.model = %(model)s AND e.epoch = %(epoch)s AND o.label IS NOT NULL
  AND NOT (e.score BETWEEN 0 AND 1 AND o.label BETWEEN 0 AND 1) LIMIT 1"""


def _units(query: SqlOutcomes, expression: str, slice_expression: str) -> str:
    """Return the common table expressions up to ``units``: one row for each arm, stratum, slice and unit."""
    return f"""WITH requests AS (
  SELECT e.assigned AS arm, e.step || '/' || e.data_day AS stratum, CAST(e.unit AS VARCHAR) AS unit,
    CAST(e.score AS DOUBLE) AS score, CAST(o.label AS DOUBLE) AS label,
    CASE WHEN o.key IS NULL THEN 1 ELSE 0 END AS waiting, CAST({slice_expression} AS VARCHAR) AS slice_name
  FROM {query.exposures_sql} AS e LEFT JOIN {query.outcomes_sql} AS o ON o.key = e.key
  WHERE e.model = %(model)s AND e.epoch = %(epoch)s AND e.data_day < %(day)s
),
measured AS (SELECT r.*, CASE WHEN label IS NULL THEN NULL ELSE {expression} END AS loss FROM requests AS r),
units AS (
  SELECT arm, stratum, slice_name, unit, COALESCE(SUM(loss), 0) AS x, COUNT(label) AS n, SUM(waiting) AS waiting,
    COALESCE(SUM(loss * loss), 0) AS squares
  FROM measured GROUP BY 1, 2, 3, 4
)"""
