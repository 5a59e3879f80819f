"""The text of the SQL, for both dialects, against golden files.

After a change that is meant, run with ``AIRFLOW_ML_WRITE_GOLDEN=1`` and read the diff.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from airflow_ml.core.feature_sql import feature_sql
from airflow_ml.core.feature_view import AsOf, FeatureView, Input, Label, Lookup, Rolling
from airflow_ml.core.split_sql import late_sql, split_sql
from airflow_ml.core.time_split import TimeSplit
from airflow_ml.errors import ConfigurationError, TableMissing

GOLDEN = Path(__file__).with_name("golden")
AS_OF = datetime(2013, 4, 1, tzinfo=UTC)
SPLIT = TimeSplit(validate="14d", test="14d")
VIEW = FeatureView(
    "flight_delays",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["carrier", "origin", "dest", Input("gate", known_at="gate_set_at")],
    joins=[
        AsOf("weather", by="origin", time="observed_at", delay="20min", max_age="3h", columns=["temp", "visib"]),
        Lookup("planes", by="tailnum", static=True, columns=["seats"]),
        Rolling("flights", by=("origin", "dest"), mean="late", known_at="landed_at", window="7d"),
        Rolling("flights", by=("origin", "dest"), count=True, known_at="landed_at", window="1d"),
        Rolling("flights", by="carrier", sum="dep_delay", known_at="landed_at", window="7d"),
    ],
    carry=["tailnum"],
)
SOURCES = {"weather": "ops.public.weather", "planes": "planes", "flights": "flights"}


def statement(name: str, dialect: str) -> str:
    if name == "train":
        return feature_sql(
            VIEW,
            spine="flights",
            sources=SOURCES,
            dialect=dialect,
            as_of=AS_OF,
            split=SPLIT,
            time_travel=dialect == "snowflake",
        )
    if name == "serve":
        columns = [*VIEW.spine_columns]
        columns.remove("late")
        columns.remove("carrier")
        return feature_sql(
            VIEW, spine="flights", sources=SOURCES, dialect=dialect, as_of=AS_OF, split=None, spine_columns=columns
        )
    if name == "splits":
        return split_sql(VIEW, spine="flights", dialect=dialect, as_of=AS_OF, split=SPLIT)
    return late_sql(VIEW, VIEW.inputs[-1], spine="flights", dialect=dialect)


cases = pytest.mark.parametrize(
    ("name", "dialect"),
    [(name, dialect) for name in ("train", "serve", "splits", "late") for dialect in ("duckdb", "snowflake")],
)


@cases
def test_the_text_is_the_golden_one(name: str, dialect: str) -> None:
    text = statement(name, dialect) + "\n"
    golden = GOLDEN / f"{name}.{dialect}.sql"
    if os.environ.get("AIRFLOW_ML_WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@cases
def test_the_text_is_one_select_of_its_dialect(name: str, dialect: str) -> None:
    parsed = sqlglot.parse(statement(name, dialect), read=dialect)
    assert len(parsed) == 1
    select = parsed[0]
    assert isinstance(select, exp.Select)
    if name in ("train", "serve"):
        names = [column.lower() for column in select.named_selects]
        assert names == ["flight_id", "predict_at", "late", "split", "tailnum", *VIEW.features]


def test_snowflake_joins_as_of_by_match_condition() -> None:
    """Each point-in-time join compares two plain columns, the spine's first, as Snowflake demands."""
    select = sqlglot.parse_one(statement("train", "snowflake"), read="snowflake")
    joins = [join for join in select.find_all(exp.Join) if join.args.get("method") == "ASOF"]
    assert len(joins) == 6  # weather; now, 7d and 1d back by route; now and 7d back by carrier
    for join in joins:
        match = join.args["match_condition"]
        assert isinstance(match, exp.GTE)
        assert isinstance(match.left, exp.Column)
        assert isinstance(match.right, exp.Column)
        assert (match.left.table, match.right.table) == ("S", join.alias_or_name)


def test_every_joined_table_is_read_as_it_was() -> None:
    text = statement("train", "snowflake")
    assert text.count("{at}") == 4
    assert '"OPS"."PUBLIC"."WEATHER" {at} AS "T"' in text
    assert 'FROM "FLIGHTS" AS "T"' in text  # the spine, which is loaded for the statement alone


def test_rollings_over_the_same_rows_share_their_totals() -> None:
    assert statement("train", "duckdb").count('OVER (PARTITION BY "m"."__by_origin", "m"."__by_dest"') == 3


def test_the_moment_is_written_in_utc() -> None:
    eastern = AS_OF.astimezone(timezone(-timedelta(hours=5)))
    text = split_sql(VIEW, spine="flights", dialect="duckdb", as_of=eastern, split=SPLIT)
    assert text == statement("splits", "duckdb")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(TableMissing, match="planes"):
        feature_sql(VIEW, spine="s", sources={"weather": "w"}, dialect="duckdb", as_of=AS_OF, split=SPLIT)
    with pytest.raises(ConfigurationError, match="oracle"):
        feature_sql(VIEW, spine="s", sources=SOURCES, dialect="oracle", as_of=AS_OF, split=SPLIT)
    with pytest.raises(ConfigurationError, match="time zone"):
        feature_sql(VIEW, spine="s", sources=SOURCES, dialect="duckdb", as_of=datetime(2013, 4, 1), split=SPLIT)  # noqa: DTZ001
