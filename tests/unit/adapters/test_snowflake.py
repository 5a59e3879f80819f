"""What only a real Snowflake does (Time Travel, query tags, its own error numbers, batches of different widths).

The local warehouse has none of it, so a recording connection stands in for the server; the SQL is parsed by sqlglot.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import snowflake.connector.errors
import sqlglot
from snowflake.connector.constants import FIELD_NAME_TO_ID
from sqlglot import exp

from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.adapters.snowflake_arrow import conform, result_schema
from airflow_ml.core.snapshot import PLAIN_READ, TIME_TRAVEL
from airflow_ml.core.source_rows import TimeRange
from airflow_ml.errors import ColumnMissing, SourceError, StatementFailed, TableMissing

AS_OF = datetime(2013, 4, 1, 12, tzinfo=UTC)
TAG = {"dag": "d", "run": "manual__1 */ x", "task": "t"}


class Recorder:
    """A connection and its cursor: notes what is sent, answers one integer column."""

    sfqid = "01b2-query"

    def __init__(self, *, time_travel: bool = True, fails: Exception | None = None) -> None:
        self.sent: list[tuple[str, Any, dict[str, Any]]] = []
        self.described: list[tuple[str, Any]] = []
        self.closed = 0
        self.description = [_column("ID", "FIXED", 0)]
        self._time_travel = time_travel
        self._fails = fails

    def cursor(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self.closed += 1

    def execute(self, text: str, values: Any = None, **options: Any) -> Self:
        self.sent.append((text, values, options))
        if self._fails and not text.startswith("SHOW"):
            raise self._fails
        return self

    def describe(self, text: str, values: Any = None) -> list[Any]:
        self.described.append((text, values))
        return [_column("id", "FIXED", 0), _column("SEEN_AT", "TIMESTAMP_NTZ")]

    def fetchone(self) -> tuple[str, ...] | None:
        return ("QUERY_TAG",) if self._time_travel else None

    def fetch_arrow_batches(self, **_: Any) -> Iterator[pa.Table]:
        yield pa.table({"ID": pa.array([1, 2], pa.int8())})


def _column(name: str, kind: str, scale: int | None = None) -> Any:
    return SimpleNamespace(name=name, type_code=FIELD_NAME_TO_ID[kind], scale=scale)


def _source(recorder: Recorder) -> SnowflakeSource:
    return SnowflakeSource(lambda: recorder, source_name="snowflake:test")  # type: ignore[arg-type, return-value]


def test_a_table_is_read_at_its_instant_by_a_bound_value(tmp_path: Path) -> None:
    recorder = Recorder()
    found = _source(recorder).read_table("ml.flights", columns=["id"], as_of=AS_OF, into=tmp_path / "x", tag=TAG)
    for text, values in (recorder.described[-1], recorder.sent[-1][:2]):
        statement = sqlglot.parse_one(text % {"as_of": "'2013-04-01 12:00:00+00:00'"}, read="snowflake")
        (table,) = statement.find_all(exp.Table)
        assert isinstance(table.args["when"], exp.HistoricalData)
        assert [part.name for part in table.parts] == ["ML", "FLIGHTS"]
        assert values == {"as_of": AS_OF}
    assert (found.consistency, found.statement_id, found.rows) == (TIME_TRAVEL, "01b2-query", 2)
    assert recorder.closed == 1


def test_a_table_s_columns_are_named_as_they_are_stored_and_its_times_are_bound(tmp_path: Path) -> None:
    recorder, until = Recorder(), AS_OF + timedelta(days=1)
    within = [TimeRange("seen_at", AS_OF, until)]
    _source(recorder).read_table("t", columns=["id"], within=within, as_of=AS_OF, into=tmp_path / "x", tag=TAG)
    text, values, _ = recorder.sent[-1]
    assert text.endswith('WHERE "SEEN_AT" BETWEEN %(first_0)s AND %(last_0)s')
    assert 'SELECT "id" FROM' in text
    assert values == {"as_of": AS_OF, "first_0": AS_OF, "last_0": until}


def test_in_a_statement_the_placeholder_decides(tmp_path: Path) -> None:
    recorder = Recorder()
    source = _source(recorder)
    with_at = source.read(
        "SELECT id FROM a {at} x JOIN b {at} USING (id)", {}, as_of=AS_OF, into=tmp_path / "x", tag=TAG
    )
    assert recorder.sent[-1][0].count("AT(TIMESTAMP => %(as_of)s::TIMESTAMP_TZ)") == 2
    without = source.read("SELECT id FROM a", {}, as_of=AS_OF, into=tmp_path / "x", tag=TAG)
    assert (with_at.consistency, without.consistency) == (TIME_TRAVEL, PLAIN_READ)
    assert sum(text.startswith("SHOW PARAMETERS") for text, _, _ in recorder.sent) == 1


def test_a_server_without_parameters_is_read_plainly_and_the_record_says_so(tmp_path: Path) -> None:
    recorder = Recorder(time_travel=False)
    found = _source(recorder).read_table("flights", columns=None, as_of=AS_OF, into=tmp_path / "x", tag=TAG)
    assert "AT(" not in recorder.sent[-1][0]
    assert found.consistency == PLAIN_READ


def test_each_statement_carries_its_tag_twice(tmp_path: Path) -> None:
    recorder = Recorder()
    long = {**TAG, "run": "x" * 5000}
    _source(recorder).read("SELECT id FROM a", {}, as_of=AS_OF, into=tmp_path / "x", tag=long)
    _source(recorder).read("SELECT id FROM a", {}, as_of=AS_OF, into=tmp_path / "x", tag=TAG)
    assert recorder.sent[-1][0].startswith("/* airflow_ml dag=d run=manual__1____x task=t */ SELECT")
    assert '"dag": "d"' in recorder.sent[-1][2]["_statement_params"]["QUERY_TAG"]
    assert all(len(sent[2]["_statement_params"]["QUERY_TAG"]) <= 2000 for sent in recorder.sent)


PROGRAMMING = snowflake.connector.errors.ProgrammingError


@pytest.mark.parametrize(
    ("raised", "error", "says"),
    [
        (
            PROGRAMMING(msg="SQL compilation error:\nObject 'ML.X.NOPE' does not exist or not authorized.", errno=2003),
            TableMissing,
            "table ML.X.NOPE does not exist",
        ),
        (
            PROGRAMMING(msg="SQL compilation error: error line 1 at position 7\ninvalid identifier 'NOCOL'", errno=904),
            ColumnMissing,
            "nocol",
        ),
        (
            PROGRAMMING(msg="Time travel data is not available for table FLIGHTS.", errno=707, sfqid="01b2"),
            StatementFailed,
            "DATA_RETENTION_TIME_IN_DAYS",
        ),
        (
            PROGRAMMING(msg="SQL compilation error:\nsyntax error unexpected 'AT'.", errno=1003, sfqid="01b2"),
            StatementFailed,
            "statement 01b2",
        ),
        (
            snowflake.connector.errors.OperationalError(msg="251011: network timeout", errno=251011),
            StatementFailed,
            "network timeout",
        ),
        (PROGRAMMING(msg="000606: No active warehouse selected", errno=606), StatementFailed, "No active warehouse"),
    ],
)
def test_an_error_at_an_instant_is_an_error_and_never_a_plain_read(
    tmp_path: Path, raised: Exception, error: type[SourceError], says: str
) -> None:
    recorder = Recorder(fails=raised)
    with pytest.raises(error, match=says) as caught:
        _source(recorder).read_table("flights", columns=None, as_of=AS_OF, into=tmp_path / "x", tag=TAG)
    assert caught.value.__cause__ is raised
    assert caught.value.remedy
    assert len([text for text, _, _ in recorder.sent if not text.startswith("SHOW")]) == 1
    assert recorder.closed == 1
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_cannot_be_opened_says_which() -> None:
    def connect() -> Any:
        raise snowflake.connector.errors.DatabaseError(
            msg="Incorrect username or password was specified.", errno=250001
        )

    with pytest.raises(StatementFailed, match="Connecting to snowflake:prod"):
        SnowflakeSource(connect, source_name="snowflake:prod").read(
            "SELECT 1", {}, as_of=AS_OF, into=Path("unused"), tag=TAG
        )


def test_batches_of_different_widths_become_one_schema() -> None:
    schema = result_schema(
        [
            _column("N", "FIXED", 0),
            _column("Price", "FIXED", 2),
            _column("AT_NTZ", "TIMESTAMP_NTZ"),
            _column("AT_LTZ", "TIMESTAMP_LTZ"),
            _column("V", "VARIANT"),
        ]
    )
    assert [str(kind) for kind in schema.types] == [
        "int64",
        "double",
        "timestamp[us, tz=UTC]",
        "timestamp[us, tz=UTC]",
        "string",
    ]
    assert schema.names == ["n", "price", "at_ntz", "at_ltz", "v"]
    instant = pa.scalar(1_365_000_000_123_456_789, pa.timestamp("ns"))
    batches = [
        pa.table(
            {
                "N": pa.array([number], kind),
                "PRICE": pa.array([price]),
                "A": pa.array([instant.as_py()], pa.timestamp("ns")),
                "B": pa.array([1_365_000_000_123_456_789], pa.timestamp("ns", tz="America/New_York")),
                "V": pa.array(["{}"]),
            }
        )
        for number, kind, price in [
            (1, pa.int8(), 1.25),
            (2**40, pa.int64(), Decimal("2.50")),
            (None, pa.int16(), None),
        ]
    ]
    whole = pa.concat_tables([conform(batch, schema) for batch in batches])
    assert whole["n"].to_pylist() == [1, 2**40, None]
    assert whole["price"].to_pylist() == [1.25, 2.5, None]
    assert whole["at_ltz"].to_pylist()[0] == whole["at_ntz"].to_pylist()[0]
    assert whole["at_ltz"].to_pylist()[0].microsecond == 123456


def test_an_integer_over_64_bits_is_an_error_that_names_the_column() -> None:
    schema = result_schema([_column("BIG", "FIXED", 0)])
    with pytest.raises(StatementFailed, match="Column big does not fit into int64"):
        conform(pa.table({"BIG": pa.array([Decimal(10**30)])}), schema)


def test_a_failed_stream_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.fetch_arrow_batches = lambda **_: iter([pa.table({"ID": pa.array(["no number"])})])  # type: ignore[method-assign]
    into = tmp_path / "x.parquet"
    with pytest.raises(StatementFailed):
        _source(recorder).read_table("flights", columns=None, as_of=AS_OF, into=into, tag=TAG)
    assert not into.exists()
    recorder = Recorder()
    _source(recorder).read_table("flights", columns=None, as_of=AS_OF, into=into, tag=TAG)
    assert pq.read_table(into)["id"].to_pylist() == [1, 2]
