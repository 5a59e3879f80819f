"""What every ``core.ports.SnapshotSource`` must do: subclass ``SnapshotSourceContract``, override ``source``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_ml.core.ports import SnapshotSource
from airflow_ml.core.snapshot import PLAIN_READ, TIME_TRAVEL
from airflow_ml.core.source_rows import TimeRange
from airflow_ml.errors import ColumnMissing, ConfigurationError, SourceError, StatementFailed, TableMissing

AS_OF = datetime(2013, 4, 1, 12, tzinfo=UTC)
TAG = {"dag": "contract", "run": "manual__2013-04-01T12:00:00+00:00", "task": "test"}
UTC_MICRO = pa.timestamp("us", tz="UTC")
HOSTILE = ["'; DROP TABLE t; --", "100%", "%(as_of)s", "back\\slash", 'quo"te', "two\nlines", "é ‮ 漢", "{at}", "$1", ""]


def rows(**changes: Any) -> pa.Table:
    """Return three rows with every type that a table column is made for."""
    columns = {
        "id": pa.array([1, 2, 3], pa.int64()),
        "name": pa.array(["a", "it's", None], pa.string()),
        "share": pa.array([0.5, None, -2.25], pa.float64()),
        "sure": pa.array([True, False, None], pa.bool_()),
        "day": pa.array([date(2013, 1, 1), None, date(2013, 12, 31)], pa.date32()),
        "seen_at": pa.array([AS_OF, None, AS_OF + timedelta(days=1, microseconds=1)], UTC_MICRO),
    }
    return pa.table({**columns, **changes})


class SnapshotSourceContract:
    """The tests; each makes tables of its own."""

    @pytest.fixture
    def source(self) -> SnapshotSource:
        """A source whose connection may create tables."""
        raise NotImplementedError

    @pytest.fixture
    def table(self) -> str:
        """The name of a table that does not exist."""
        return f"t_{uuid.uuid4().hex}"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def write(self, source: SnapshotSource, table: str, data: pa.Table, key: Sequence[str] = ("id",)) -> int:
        """Upsert an Arrow table."""
        file = self.folder / f"{uuid.uuid4().hex}.parquet"
        pq.write_table(data, file)
        return source.write_table(table, file, key=key, tag=TAG)

    def read(
        self, source: SnapshotSource, statement: str, values: Mapping[str, Any] | None = None, as_of: datetime = AS_OF
    ) -> pa.Table:
        """Run a SELECT and check that what it says of its file is true."""
        found = source.read(statement, values or {}, as_of=as_of, into=self.folder / "out.parquet", tag=TAG)
        data = pq.read_table(found.path)
        assert found.rows == data.num_rows
        assert [(column.name, column.dtype) for column in found.columns] == [(f.name, str(f.type)) for f in data.schema]
        assert found.consistency in (TIME_TRAVEL, PLAIN_READ)
        assert found.statement_id
        return data

    def value(self, source: SnapshotSource, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        """Return the one value of a SELECT."""
        (row,) = self.read(source, statement, values).to_pylist()
        (value,) = row.values()
        return value

    def contents(self, source: SnapshotSource, table: str) -> list[dict[str, Any]]:
        """Return a table's rows by id."""
        found: list[dict[str, Any]] = self.read(source, f"SELECT * FROM {table} ORDER BY id").to_pylist()
        return found

    def test_rows_come_back_as_they_were_written(self, source: SnapshotSource, table: str) -> None:
        assert self.write(source, table, rows()) == 3
        into = self.folder / "whole.parquet"
        found = source.read_table(table, columns=None, as_of=AS_OF, into=into, tag=TAG)
        assert (found.rows, found.path) == (3, into)
        assert pq.read_table(into).sort_by("id").to_pylist() == rows().to_pylist()
        assert pq.read_schema(into).equals(rows().schema)

    def test_columns_are_chosen_and_ordered(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        into = self.folder / "some.parquet"
        found = source.read_table(table, columns=["share", "ID"], as_of=AS_OF, into=into, tag=TAG)
        assert [column.name for column in found.columns] == ["share", "id"]

    @pytest.mark.parametrize("kind", [UTC_MICRO, pa.timestamp("us")], ids=["zone", "no zone"])
    def test_rows_are_those_of_any_range(self, source: SnapshotSource, table: str, kind: pa.DataType) -> None:
        moments = [AS_OF - timedelta(hours=hours) for hours in (50, 40, 30, 20, 10)]
        times = [moment.replace(tzinfo=None) if kind.tz is None else moment for moment in moments]
        data = pa.table({"id": range(6), "at": pa.array([*times, None], kind), "end": pa.array([None, *times], kind)})
        self.write(source, table, data)
        into = self.folder / "some.parquet"

        def ids(*within: TimeRange) -> list[int]:
            source.read_table(table, columns=["id"], within=within, as_of=AS_OF, into=into, tag=TAG)
            found: list[int] = sorted(pq.read_table(into)["id"].to_pylist())
            return found

        assert ids() == [0, 1, 2, 3, 4, 5]
        assert ids(TimeRange("at", moments[3], moments[2])) == []
        assert ids(TimeRange("at", moments[2], moments[3])) == [2, 3]
        assert ids(TimeRange("at", moments[0], moments[0]), TimeRange("end", moments[4], AS_OF)) == [0, 5]

    def test_files_are_tables_of_one_statement(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        files = {f"{table}_{name}": self.folder / f"{name}.parquet" for name in ("first", "second")}
        pq.write_table(rows(id=pa.array([1, 2, 9])), files[f"{table}_first"])
        pq.write_table(pa.table({"id": [2, 3]}), files[f"{table}_second"])
        joined = f"SELECT a.* FROM {table} b JOIN {table}_first a ON a.id = b.id JOIN {table}_second c ON c.id = a.id"
        into = self.folder / "joined.parquet"
        source.read(joined, {}, uploads=files, as_of=AS_OF, into=into, tag=TAG)
        assert pq.read_table(into).to_pylist() == rows().slice(1, 1).to_pylist()
        for name in files:
            with pytest.raises(TableMissing, match=f"(?i){name}"):
                self.read(source, f"SELECT * FROM {name}")
        with pytest.raises(ColumnMissing, match="nocol"):
            source.read(f"SELECT nocol FROM {table}_first", {}, uploads=files, as_of=AS_OF, into=into, tag=TAG)
        with pytest.raises(TableMissing):
            self.read(source, f"SELECT * FROM {table}_first")

    def test_types_are_those_of_the_contract(self, source: SnapshotSource) -> None:
        data = self.read(
            source,
            "SELECT 1 AS small, 3000000000 AS big, CAST(1.50 AS DECIMAL(10,2)) AS price, CAST(2 AS DOUBLE) AS d,"
            " CAST('2013-01-01 05:00:00' AS TIMESTAMP) AS t, CAST('2013-01-01' AS DATE) AS day, 'x' AS TEXT,"
            " NULL AS nothing, COUNT(*) AS n",
        )
        kinds = {field.name: str(field.type) for field in data.schema}
        assert kinds == {
            **dict.fromkeys(("small", "big", "n"), "int64"),
            **dict.fromkeys(("price", "d"), "double"),
            **dict.fromkeys(("text",), "string"),
            "t": "timestamp[us, tz=UTC]",
            "day": "date32[day]",
            "nothing": kinds["nothing"],
        }
        assert kinds["nothing"] in ("string", "int64")
        (row,) = data.to_pylist()
        assert (row["price"], row["t"], row["n"]) == (1.5, datetime(2013, 1, 1, 5, tzinfo=UTC), 1)

    def test_an_empty_result_has_its_columns_and_types(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        data = self.read(source, f"SELECT * FROM {table} WHERE id > 10")
        assert data.num_rows == 0
        assert data.schema.equals(rows().schema)

    def test_more_rows_than_a_row_group(self, source: SnapshotSource, table: str) -> None:
        count = 70_001
        data = pa.table({"id": range(count), "v": pa.array([None] * (count - 1) + [2**40], pa.int64())})
        assert self.write(source, table, data) == count
        read = self.read(source, f"SELECT id, v FROM {table} ORDER BY id")
        assert read.equals(data)
        assert pq.ParquetFile(self.folder / "out.parquet").num_row_groups == 2

    def test_the_same_rows_are_the_same_bytes(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        files = []
        for _ in range(2):
            self.read(source, f"SELECT * FROM {table} ORDER BY id")
            files.append((self.folder / "out.parquet").read_bytes())
        assert files[0] == files[1]

    def test_text_is_bound_and_never_read_as_sql(self, source: SnapshotSource, table: str) -> None:
        written = [{"id": number, "name": text} for number, text in enumerate([*HOSTILE, "x", None])]
        self.write(source, table, pa.Table.from_pylist(written))
        for number, text in enumerate(HOSTILE):
            statement = f"SELECT id, %(text)s AS echo FROM {table} WHERE name = %(text)s"
            assert self.read(source, statement, {"text": text}).to_pylist() == [{"id": number, "echo": text}]
        assert self.contents(source, table) == written

    def test_numbers_lists_and_none_are_bound(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        count = f"SELECT COUNT(*) AS n FROM {table} WHERE "
        assert self.value(source, count + "id IN (%(ids)s)", {"ids": [1, 3, 7]}) == 2
        assert self.value(source, count + "name IN (%(names)s)", {"names": ["a", "it's"]}) == 2
        assert self.value(source, count + "share < %(x)s AND sure = %(yes)s", {"x": 0.75, "yes": True}) == 1
        assert self.value(source, count + "COALESCE(name, %(none)s) IS NULL", {"none": None}) == 1

    def test_as_of_is_bound_and_times_are_compared_in_utc(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        count = f"SELECT COUNT(*) AS n FROM {table} WHERE seen_at <= "
        assert self.value(source, count + "%(as_of)s") == 1
        east = (AS_OF + timedelta(days=2)).astimezone(timezone(timedelta(hours=9)))
        assert self.value(source, count + "%(at)s", {"at": east}) == 2
        west = (AS_OF - timedelta(seconds=1)).astimezone(timezone(-timedelta(hours=9)))
        assert self.value(source, count + "%(at)s", {"at": west}) == 0

    def test_a_percent_sign_needs_no_care(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        assert self.value(source, f"SELECT id FROM {table} WHERE name LIKE 'it%' AND id % 3 = 2;") == 2
        assert self.value(source, f"SELECT id FROM {table} WHERE name LIKE 'it%%'") == 2

    def test_the_time_travel_placeholder_may_stand_anywhere_behind_a_table(
        self, source: SnapshotSource, table: str
    ) -> None:
        self.write(source, table, rows())
        instant = datetime.now(UTC)
        data = self.read(source, f"SELECT t.id FROM {table} {{at}} AS t WHERE id < 3", as_of=instant)
        assert data.num_rows == 2

    @pytest.mark.parametrize(
        "values",
        [{"x": datetime(2013, 1, 1)}, {"x": []}, {"x": {}}, {"x": float("nan")}, {"x": object()}, {"x": [[1]]}, {}],  # noqa: DTZ001
    )
    def test_what_cannot_be_bound_is_refused(self, source: SnapshotSource, values: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="x"):
            self.read(source, "SELECT %(x)s AS x", values)

    def test_a_missing_table_is_named(self, source: SnapshotSource, table: str) -> None:
        with pytest.raises(TableMissing, match=f"(?i){table}"):
            self.read(source, f"SELECT * FROM {table}")
        with pytest.raises(TableMissing, match=f"(?i){table}"):
            source.read_table(table, columns=None, as_of=AS_OF, into=self.folder / "x", tag=TAG)
        assert list(self.folder.iterdir()) == []

    @pytest.mark.parametrize("statement", ["SELECT nocol FROM {}", "SELECT a.nocol FROM {} a WHERE a.id = 1"])
    def test_a_missing_column_is_named(self, source: SnapshotSource, table: str, statement: str) -> None:
        self.write(source, table, rows())
        with pytest.raises(ColumnMissing, match="nocol"):
            self.read(source, statement.format(table))
        with pytest.raises(ColumnMissing, match="nocol"):
            source.read_table(table, columns=["id", "nocol"], as_of=AS_OF, into=self.folder / "x", tag=TAG)

    @pytest.mark.parametrize(
        "statement", ["SELECT FROM WHERE", "SELECT no_such_function(1)", "SELECT CAST('x' AS INT)"]
    )
    def test_a_statement_that_cannot_run_fails_soon_and_leaves_no_file(
        self, source: SnapshotSource, statement: str
    ) -> None:
        with pytest.raises(StatementFailed):
            self.read(source, statement)
        assert list(self.folder.iterdir()) == []

    def test_columns_of_one_name_are_refused(self, source: SnapshotSource) -> None:
        with pytest.raises(StatementFailed, match="different names"):
            self.read(source, 'SELECT 1 AS "a", 2 AS "A"')

    def test_a_snapshot_cannot_write(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        for statement in (
            "DELETE FROM {}",
            "DROP TABLE {}",
            "/* SELECT */ UPDATE {} SET id = 1",
            "-- SELECT\nDELETE FROM {}",
        ):
            with pytest.raises(ConfigurationError, match="SELECT"):
                self.read(source, statement.format(table))
        assert len(self.contents(source, table)) == 3

    @pytest.mark.parametrize("name", ["t; DROP TABLE t", "t FROM (SELECT 1)", "", "a.b.c.d", 't"', "t--", "é"])
    def test_names_that_are_none_are_refused(self, source: SnapshotSource, table: str, name: str) -> None:
        with pytest.raises(ConfigurationError):
            source.read_table(name, columns=None, as_of=AS_OF, into=self.folder / "x", tag=TAG)
        with pytest.raises(ConfigurationError):
            source.read_table(table, columns=["id", name], as_of=AS_OF, into=self.folder / "x", tag=TAG)
        with pytest.raises(ConfigurationError):
            self.write(source, name, rows())

    def test_reserved_words_are_names(self, source: SnapshotSource, table: str) -> None:
        data = pa.table({"order": [1, 2], "select": ["a", "b"], "at": [1.0, 2.0]})
        assert self.write(source, table, data, key=["order", "at"]) == 2
        into = self.folder / "x.parquet"
        source.read_table(table, columns=["order", "select", "at"], as_of=AS_OF, into=into, tag=TAG)
        assert pq.read_table(into).sort_by("order").to_pylist() == data.to_pylist()

    def test_writing_again_changes_nothing(self, source: SnapshotSource, table: str) -> None:
        for _ in range(3):
            assert self.write(source, table, rows()) == 3
        assert self.contents(source, table) == rows().to_pylist()

    def test_rows_with_the_key_are_replaced_and_the_others_kept(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows())
        assert self.write(source, table, rows(id=pa.array([3, 4, 5]), name=pa.array(["new"] * 3))) == 3
        found = self.contents(source, table)
        assert [(row["id"], row["name"]) for row in found] == [
            (1, "a"),
            (2, "it's"),
            (3, "new"),
            (4, "new"),
            (5, "new"),
        ]

    def test_a_key_of_two_columns(self, source: SnapshotSource, table: str) -> None:
        self.write(source, table, rows(seen_at=pa.array([AS_OF] * 3, UTC_MICRO)), key=["id", "seen_at"])
        later = rows(seen_at=pa.array([AS_OF, AS_OF + timedelta(hours=1), AS_OF], UTC_MICRO), name=pa.array(["z"] * 3))
        assert self.write(source, table, later, key=["id", "seen_at"]) == 3
        found = self.read(source, f"SELECT id, name FROM {table} ORDER BY id, seen_at").to_pylist()
        assert [tuple(row.values()) for row in found] == [(1, "z"), (2, "it's"), (2, "z"), (3, "z")]

    def test_no_rows_make_a_table_and_change_none(self, source: SnapshotSource, table: str) -> None:
        assert self.write(source, table, rows().slice(0, 0)) == 0
        assert self.contents(source, table) == []
        self.write(source, table, rows())
        assert self.write(source, table, rows().slice(0, 0)) == 0
        assert len(self.contents(source, table)) == 3

    @pytest.mark.parametrize(
        ("data", "key", "error"),
        [
            (rows(id=pa.array([1, None, 3])), ["id"], ConfigurationError),
            (rows(id=pa.array([1, 1, 3])), ["id"], ConfigurationError),
            (rows(), [], ConfigurationError),
            (rows(), ["nokey"], ColumnMissing),
            (rows(more=pa.array([[1], [2], [3]])), ["id"], ConfigurationError),
            (rows(more=pa.nulls(3)), ["id"], ConfigurationError),
        ],
        ids=["null key", "duplicate key", "no key", "unknown key", "nested", "no type"],
    )
    def test_rows_that_cannot_be_upserted_touch_nothing(
        self, source: SnapshotSource, table: str, data: pa.Table, key: list[str], error: type[SourceError]
    ) -> None:
        with pytest.raises(error):
            self.write(source, table, data, key)
        with pytest.raises(TableMissing):
            self.contents(source, table)

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (rows(id=pa.array([1, 2, 9]), extra=pa.array([1, 2, 3])), ColumnMissing),
            (rows(id=pa.array([1, 2, 9]), share=pa.array(["many", "few", "x"])), StatementFailed),
        ],
        ids=["column the table lacks", "type that does not fit"],
    )
    def test_a_write_that_fails_half_way_leaves_the_table_as_it_was(
        self, source: SnapshotSource, table: str, data: pa.Table, error: type[SourceError]
    ) -> None:
        self.write(source, table, rows())
        with pytest.raises(error):
            self.write(source, table, data)
        assert self.contents(source, table) == rows().to_pylist()

    def test_writers_of_different_tables_do_not_meet(self, source: SnapshotSource, table: str) -> None:
        with ThreadPoolExecutor(3) as pool:
            written = list(pool.map(lambda number: self.write(source, f"{table}_{number}", rows()), range(6)))
        assert written == [3] * 6
        assert all(len(self.contents(source, f"{table}_{number}")) == 3 for number in range(6))
