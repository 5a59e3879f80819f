"""Questions about the rows of a view's tables as SQL: splits, inputs known too late, keys of a lookup found twice."""

from __future__ import annotations

from datetime import datetime

from airflow_ml.core.feature_dialect import Dialect, dialect_of
from airflow_ml.core.feature_inputs import Input, Lookup
from airflow_ml.core.feature_view import SPLIT, FeatureView
from airflow_ml.core.features import TEST, TRAIN, VALIDATE
from airflow_ml.core.time_split import AFTER_AS_OF, AFTER_THE_CUT, NO_LABEL, NO_LABEL_YET, TimeSplit
from airflow_ml.errors import ConfigurationError


def split_case(view: FeatureView, dialect: Dialect, split: TimeSplit, as_of: datetime) -> str:
    """Return the expression, over the spine under the alias ``t``, of a row's split or reason of exclusion."""
    cuts, label = split.cuts(as_of), view.label
    predict_at, known_at, value = (_column(dialect, name) for name in (view.predict_at, label.known_at, label.name))
    at, known = dialect.moment(predict_at), dialect.moment(known_at)
    end, test_at, validate_at = (dialect.literal(t) for t in (cuts.as_of, cuts.test_at, cuts.validate_at))
    return (
        f"CASE\n    WHEN {known} IS NULL OR {known} > {end} THEN '{NO_LABEL_YET}'\n"
        f"    WHEN {value} IS NULL THEN '{NO_LABEL}'\n"
        f"    WHEN {at} >= {end} THEN '{AFTER_AS_OF}'\n"
        f"    WHEN {at} >= {test_at} THEN '{TEST}'\n"
        f"    WHEN {at} >= {validate_at} AND {known} <= {test_at} THEN '{VALIDATE}'\n"
        f"    WHEN {at} < {validate_at} AND {known} <= {validate_at} THEN '{TRAIN}'\n"
        f"    ELSE '{AFTER_THE_CUT}'\n  END"
    )


def split_sql(view: FeatureView, *, spine: str, dialect: str, as_of: datetime, split: TimeSplit) -> str:
    """Return the SELECT of two columns: split or reason of exclusion, and its number of rows.

    Raises:
        ConfigurationError: unknown dialect, or ``as_of`` without a zone.
    """
    d = dialect_of(dialect)
    case = split_case(view, d, split, aware(as_of))
    outcome, rows = f"{d.quote('s')}.{d.quote(SPLIT)}", d.quote("rows")
    inner = f"  SELECT {case} AS {d.quote(SPLIT)}\n  FROM {d.relation(spine)} AS {d.quote('t')}"
    return f"SELECT {outcome}, COUNT(*) AS {rows}\nFROM (\n{inner}\n) AS {d.quote('s')}\nGROUP BY {outcome}\nORDER BY 1"


def late_sql(view: FeatureView, item: Input, *, spine: str, dialect: str) -> str:
    """Return the SELECT of at most one row about an input with its own ``known_at``: none if it is always in time.

    Columns: ``rows`` known too late or at nobody knows what time, ``nulls`` among them, and ``key``, ``predict_at`` and
    ``known_at`` of the latest one.

    Raises:
        ConfigurationError: unknown dialect.
    """
    d = dialect_of(dialect)
    key, predict_at, known_at = (_column(d, name) for name in (view.key, view.predict_at, item.known_at))
    at, known = d.moment(predict_at), d.moment(known_at)
    return (
        f"SELECT\n  COUNT(*) OVER () AS {d.quote('rows')},\n"
        f"  COUNT(*) OVER () - COUNT({known}) OVER () AS {d.quote('nulls')},\n"
        f"  {key} AS {d.quote('key')},\n  {at} AS {d.quote('predict_at')},\n  {known} AS {d.quote('known_at')}\n"
        f"FROM {d.relation(spine)} AS {d.quote('t')}\nWHERE {known} IS NULL OR {known} > {at}\n"
        f"ORDER BY DATEDIFF('microsecond', {at}, {known}) DESC NULLS LAST, {at}, {key}\nLIMIT 1"
    )


def doubled_sql(join: Lookup, *, relation: str, dialect: str, history: bool = False) -> str:
    """Return the SELECT of at most one key that a lookup's table holds several times: its columns, and ``rows``.

    Raises:
        ConfigurationError: unknown dialect.
    """
    d = dialect_of(dialect)
    by = [d.quote(name) for name in join.by]
    keys, known = ", ".join(by), " AND ".join(f"{name} IS NOT NULL" for name in by)
    return (
        f"SELECT {keys}, COUNT(*) AS {d.quote('rows')}\nFROM {d.relation(relation, history=history)}\nWHERE {known}\n"
        f"GROUP BY {keys}\nHAVING COUNT(*) > 1\nORDER BY {keys}\nLIMIT 1"
    )


def aware(as_of: datetime) -> datetime:
    """Return a moment that has a zone.

    Raises:
        ConfigurationError: it has none.
    """
    if as_of.tzinfo is None:
        raise ConfigurationError("as_of has no time zone", as_of.isoformat(), "Give an aware time in UTC.")
    return as_of


def _column(dialect: Dialect, name: str) -> str:
    return f"{dialect.quote('t')}.{dialect.quote(name)}"
