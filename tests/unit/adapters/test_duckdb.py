from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from airflow_ml.adapters.duckdb import BuiltFeatures, DuckDBFeatures
from airflow_ml.adapters.duckdb_output import ROW_GROUP_ROWS
from airflow_ml.core.feature_sql import feature_sql
from airflow_ml.core.feature_view import AsOf, FeatureView, Input, Label, Lookup, Rolling
from airflow_ml.core.time_split import TimeSplit
from airflow_ml.errors import (
    AirflowMLError,
    ColumnMissing,
    ConfigurationError,
    DataTooLarge,
    EmptyDataset,
    FeatureKnownTooLate,
    TableMissing,
)

AS_OF = datetime(2013, 2, 1, tzinfo=UTC)
START = datetime(2013, 1, 1, tzinfo=UTC)
SPLIT = TimeSplit(validate="7d", test="7d")
ORIGINS = ["EWR", "JFK", "LGA"]


def make_view(**changes: Any) -> FeatureView:
    arguments: dict[str, Any] = {
        "key": "flight_id",
        "predict_at": "predict_at",
        "label": Label("late", known_at="landed_at"),
        "inputs": ["origin", "distance", "is_long"],
        "joins": [
            AsOf("weather", by="origin", time="observed_at", delay="20min", max_age="3h", columns=["temp"]),
            Lookup("planes", by="tailnum", static=True, columns=["seats"]),
            Rolling("flights", by="origin", mean="late", known_at="landed_at", window="2d"),
            Rolling("flights", by="origin", sum="dep_delay", known_at="landed_at", window="1d"),
        ],
        "carry": ["tailnum", "scheduled_on"],
        **changes,
    }
    return FeatureView("flights", **arguments)


def make_flights(rows: int = 600) -> pa.Table:
    predict = [START + timedelta(minutes=70 * n) for n in range(rows)]
    return pa.table(
        {
            "flight_id": pa.array(range(rows), pa.int64()),
            "predict_at": pa.array(predict, pa.timestamp("us", tz="UTC")),
            "departed_at": pa.array([t + timedelta(hours=2) for t in predict], pa.timestamp("us", tz="UTC")),
            "landed_at": pa.array(
                [t + timedelta(hours=5) if n % 50 else None for n, t in enumerate(predict)],
                pa.timestamp("us", tz="UTC"),
            ),
            "late": pa.array([n % 3 == 0 if n % 40 else None for n in range(rows)], pa.bool_()),
            "dep_delay": pa.array([(n * 7919) % 61 * 0.1 for n in range(rows)], pa.float64()),
            "origin": pa.array([ORIGINS[n % 3] for n in range(rows)], pa.string()),
            "distance": pa.array([n % 900 for n in range(rows)], pa.int16()),
            "is_long": pa.array([n % 900 > 500 for n in range(rows)], pa.bool_()),
            "tailnum": pa.array([f"N{n % 20}" if n % 7 else None for n in range(rows)], pa.string()),
            "scheduled_on": pa.array([t.date() for t in predict], pa.date32()),
        }
    )


def make_world(folder: Path) -> dict[str, Path]:
    hours = [START + timedelta(hours=n) for n in range(24 * 31)]
    tables = {
        "flights": make_flights(),
        "weather": pa.table(
            {
                "origin": pa.array(ORIGINS * len(hours)),
                "observed_at": pa.array([t for t in hours for _ in ORIGINS], pa.timestamp("us", tz="UTC")),
                "temp": pa.array([float(n % 37) for n in range(3 * len(hours))], pa.float32()),
            }
        ),
        "planes": pa.table({"tailnum": [f"N{n}" for n in range(15)], "seats": pa.array(range(15), pa.int32())}),
    }
    paths = {name: folder / f"{name}.parquet" for name in tables}
    for name, table in tables.items():
        pq.write_table(table, paths[name])
    return paths


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path]:
    return make_world(tmp_path)


def build(world: dict[str, Path], view: FeatureView | None = None, **changes: Any) -> BuiltFeatures:
    view = view or make_view()
    arguments: dict[str, Any] = {
        "spine": world["flights"],
        "sources": {name: world[name] for name in view.sources if name in world},
        "as_of": AS_OF,
        "split": SPLIT,
        "into": world["flights"].with_name("features.parquet"),
        **changes,
    }
    return DuckDBFeatures(threads=arguments.pop("threads", 2)).build(view, **arguments)


def rewrite(path: Path, name: str, column: pa.Array | None) -> None:
    table = pq.read_table(path)
    position = table.column_names.index(name)
    table = table.remove_column(position) if column is None else table.set_column(position, name, column)
    pq.write_table(table, path)


def test_a_build_counts_every_row_of_the_spine(world: dict[str, Path]) -> None:
    built = build(world)
    assert built.engine == "duckdb"
    assert built.rows + sum(built.excluded.values()) == 600
    assert set(built.split_rows) == {"train", "validate", "test"}
    assert set(built.excluded) == {"no label yet", "no label", "label known after the cut"}
    assert built.split_at == {"validate": "2013-01-18T00:00:00Z", "test": "2013-01-25T00:00:00Z"}
    counted = pq.read_table(built.path).group_by("split").aggregate([([], "count_all")]).to_pydict()
    assert dict(zip(counted["split"], counted["count_all"], strict=True)) == built.split_rows


def test_columns_come_out_in_few_types_and_fixed_order(world: dict[str, Path]) -> None:
    built = build(world)
    assert [(column.name, column.dtype) for column in built.columns] == [
        ("flight_id", "int64"),
        ("predict_at", "timestamp[us, tz=UTC]"),
        ("late", "bool"),
        ("split", "string"),
        ("tailnum", "string"),
        ("scheduled_on", "date32[day]"),
        ("origin", "string"),
        ("distance", "int64"),
        ("is_long", "bool"),
        ("temp", "double"),
        ("seats", "int64"),
        ("late_mean_2d_by_origin", "double"),
        ("dep_delay_sum_1d_by_origin", "double"),
    ]
    schema = pq.read_schema(built.path)
    assert [(field.name, str(field.type)) for field in schema] == [(c.name, c.dtype) for c in built.columns]


def test_the_same_input_gives_the_same_bytes(world: dict[str, Path]) -> None:
    def digest(**changes: Any) -> str:
        return hashlib.sha256(build(world, **changes).path.read_bytes()).hexdigest()

    first = digest()
    assert digest(into=world["flights"].with_name("again.parquet")) == first
    assert digest(threads=1) == first
    shuffled = pq.read_table(world["flights"]).take(pa.array(sorted(range(600), key=lambda n: n * 7919 % 600)))
    pq.write_table(shuffled, world["flights"], row_group_size=50)
    assert digest(threads=4) == first


def test_large_files_have_small_row_groups_that_one_split_skips(tmp_path: Path) -> None:
    rows = 2 * ROW_GROUP_ROWS + 10
    at = pa.array([START + timedelta(seconds=20 * n) for n in range(rows)], pa.timestamp("us", tz="UTC"))
    table = pa.table({"k": range(rows), "predict_at": at, "y": [1] * rows, "y_at": at, "x": [0.5] * rows})
    pq.write_table(table, tmp_path / "spine.parquet")
    view = FeatureView("v", key="k", predict_at="predict_at", label=Label("y", known_at="y_at"), inputs=["x"])
    built = DuckDBFeatures().build(
        view, spine=tmp_path / "spine.parquet", sources={}, as_of=AS_OF, split=SPLIT, into=tmp_path / "out.parquet"
    )
    metadata = pq.read_metadata(built.path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [65536, 65536, 10]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert metadata.row_group(0).column(3).statistics.max == "train"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_snowflakes_text_finds_the_same_values(world: dict[str, Path]) -> None:
    """The Snowflake statement, translated by sqlglot and run on the same rows, equals what DuckDB was given."""
    view = make_view()
    text = feature_sql(
        view, spine="flights", sources={t: t for t in view.sources}, dialect="snowflake", as_of=AS_OF, split=SPLIT
    )
    tree = sqlglot.parse_one(text, read="snowflake")
    for join in list(tree.find_all(exp.Join)):
        match = join.args.get("match_condition")
        if match is not None:  # the one construct that sqlglot does not translate; Snowflake's is an outer join
            join.set("match_condition", None)
            join.set("side", "LEFT")
            join.set("on", exp.and_(join.args["on"], match))
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    for name, path in world.items():
        connection.read_parquet(str(path)).create_view(name)
    rows = connection.sql(f"SELECT * FROM ({tree.sql('duckdb')}) ORDER BY predict_at, flight_id").to_arrow_table()
    built = pq.read_table(build(world).path)
    assert [name.lower() for name in rows.column_names] == built.column_names
    for name in built.column_names:
        assert (
            rows.column(name.upper()).cast(built.schema.field(name).type).to_pylist() == built.column(name).to_pylist()
        )


def test_serving_needs_no_label_and_leaves_no_row_out(world: dict[str, Path]) -> None:
    flights = pq.read_table(world["flights"])
    spine = world["flights"].with_name("departures.parquet")
    pq.write_table(flights.drop_columns(["late", "landed_at", "distance", "scheduled_on"]), spine)
    built = build(world, spine=spine, split=None)
    assert (built.split_rows, built.split_at, built.excluded) == ({"serve": 600}, {}, {})
    table = pq.read_table(built.path)
    assert set(table["split"].to_pylist()) == {"serve"}
    assert table["distance"].null_count == table["late"].null_count == table["scheduled_on"].null_count == 600
    trained = {row["flight_id"]: row for row in pq.read_table(build(world).path).to_pylist()}
    for row in table.to_pylist():
        if row["flight_id"] in trained:
            names = [name for name in make_view().features if name != "distance"]
            assert {n: row[n] for n in names} == {n: trained[row["flight_id"]][n] for n in names}


def test_serving_shows_a_false_promise_as_it_is_and_withholds_what_is_not_known(world: dict[str, Path]) -> None:
    false_promise = make_view(inputs=["dep_delay"], joins=[])
    served = pq.read_table(build(world, false_promise, split=None).path)
    assert served["dep_delay"].null_count == 0
    honest = make_view(inputs=["origin", Input("dep_delay", known_at="departed_at")], joins=[])
    served = pq.read_table(build(world, honest, split=None).path)
    assert served["dep_delay"].null_count == 600
    assert served["late"].null_count < 600  # labels that are known by as_of are shown


def test_a_prediction_after_as_of_uses_what_was_known_at_as_of(world: dict[str, Path]) -> None:
    early = START + timedelta(days=10)
    rows = pq.read_table(build(world, split=None, as_of=early).path).to_pylist()
    later = [row for row in rows if row["predict_at"] > early + timedelta(days=2)]
    assert len(later) > 100
    assert {row["late_mean_2d_by_origin"] for row in later} == {row["temp"] for row in later} == {None}
    assert any(row["late_mean_2d_by_origin"] is not None for row in rows if row["predict_at"] <= early)


def test_a_late_input_is_refused_with_its_worst_row(world: dict[str, Path]) -> None:
    late = pq.read_table(world["flights"])["departed_at"].to_pylist()
    late[17] += timedelta(days=3)
    late[18] = None
    rewrite(world["flights"], "departed_at", pa.array(late, pa.timestamp("us", tz="UTC")))
    with pytest.raises(FeatureKnownTooLate) as caught:
        build(world, make_view(inputs=[Input("dep_delay", known_at="departed_at")]))
    message = str(caught.value)
    for words in ("dep_delay", "600 rows", "1 of them nobody knows when", "flight_id 17", "Drop the column"):
        assert words in message
    assert not world["flights"].with_name("features.parquet").exists()


def test_an_input_known_in_time_is_taken(world: dict[str, Path]) -> None:
    rewrite(world["flights"], "departed_at", pq.read_table(world["flights"])["predict_at"].combine_chunks())
    built = build(world, make_view(inputs=[Input("dep_delay", known_at="departed_at")], joins=[]))
    assert pq.read_table(built.path)["dep_delay"].null_count == 0


def drop(table: str, column: str) -> Callable[[dict[str, Path]], BuiltFeatures]:
    def act(world: dict[str, Path]) -> BuiltFeatures:
        rewrite(world[table], column, None)
        return build(world)

    return act


def change(table: str, column: str, make: Callable[[int], pa.Array]) -> Callable[[dict[str, Path]], BuiltFeatures]:
    def act(world: dict[str, Path]) -> BuiltFeatures:
        rewrite(world[table], column, make(pq.read_metadata(world[table]).num_rows))
        return build(world)

    return act


def without_rows(world: dict[str, Path]) -> BuiltFeatures:
    pq.write_table(pq.read_table(world["flights"]).slice(0, 0), world["flights"])
    return build(world)


def with_one_duplicate(world: dict[str, Path]) -> BuiltFeatures:
    flights = pq.read_table(world["flights"])
    pq.write_table(pa.concat_tables([flights, flights.slice(3, 1)]), world["flights"])
    return build(world)


def without_memory(world: dict[str, Path]) -> BuiltFeatures:
    return DuckDBFeatures(memory_limit="1MB").build(
        make_view(),
        spine=world["flights"],
        sources=world,
        as_of=AS_OF,
        split=SPLIT,
        into=world["flights"].with_name("out.parquet"),
    )


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (drop("flights", "distance"), ColumnMissing, "distance"),
        (drop("flights", "landed_at"), ColumnMissing, "landed_at"),
        (drop("weather", "temp"), ColumnMissing, "weather"),
        (lambda world: build(world, sources={}), TableMissing, "weather"),
        (lambda world: build(world, spine=Path("absent.parquet")), TableMissing, "absent.parquet"),
        (without_rows, EmptyDataset, "no rows"),
        (lambda world: build(world, as_of=START + timedelta(days=8)), EmptyDataset, "The split train"),
        (lambda world: build(world, as_of=datetime(2014, 1, 1, tzinfo=UTC)), EmptyDataset, "2013-12-18T00:00:00Z"),
        (lambda world: build(world, as_of=datetime(2013, 2, 1)), ConfigurationError, "time zone"),  # noqa: DTZ001
        (with_one_duplicate, ConfigurationError, "flight_id 3"),
        (change("flights", "flight_id", lambda n: pa.nulls(n, pa.int64())), ConfigurationError, "without flight_id"),
        (change("planes", "tailnum", lambda n: pa.array(["N1"] * n)), ConfigurationError, "'tailnum': 'N1'"),
        (change("flights", "predict_at", lambda n: pa.array([date(2013, 1, 1)] * n)), ConfigurationError, "DATE"),
        (change("flights", "distance", lambda n: pa.array([START] * n)), ConfigurationError, "distance"),
        (change("flights", "dep_delay", lambda n: pa.array(["1"] * n)), ConfigurationError, "cannot be summed"),
        (change("weather", "origin", lambda n: pa.array([[1]] * n)), ConfigurationError, "DuckDB refuses"),
        (without_memory, DataTooLarge, "memory_limit"),
        (lambda world: build(world, make_view(inputs=["big"])), ColumnMissing, "big"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    world: dict[str, Path], act: Callable[[dict[str, Path]], BuiltFeatures], error: type[AirflowMLError], words: str
) -> None:
    before = sorted(path.name for path in world["flights"].parent.iterdir())
    with pytest.raises(error) as caught:
        act(world)
    assert words in str(caught.value)
    assert sorted(path.name for path in world["flights"].parent.iterdir()) == before


def test_a_number_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """An error that appears only while rows are read is ours, too."""
    world = make_world(tmp_path)
    rewrite(world["flights"], "distance", pa.array([10**30] * 600, pa.decimal128(38, 0)))
    with pytest.raises(ConfigurationError, match="DuckDB refuses"):
        build(world)
