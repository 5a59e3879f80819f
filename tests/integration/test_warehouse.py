"""The local warehouse as Airflow meets it: over TLS, through SnowflakeHook, on disk."""

import json
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.errors import ConfigurationError
from airflow_ml.testing.warehouse import LocalWarehouse
from demo import flights

pytestmark = pytest.mark.integration

HOOK = """
import json, sys, time
from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook
hook = SnowflakeHook("snowflake_default")
answers = {"one": hook.get_first("SELECT 1")[0]}
hook.run(["CREATE OR REPLACE TABLE seen (id INT, at_utc TIMESTAMP_TZ)", "INSERT INTO seen VALUES (1, NULL)"])
answers["null"] = hook.get_first("SELECT at_utc FROM seen")[0]
started = time.monotonic()
try:
    hook.get_first("SELECT * FROM seen BEFORE (STATEMENT => 'x')")
except Exception as error:
    answers["unsupported"] = [type(error).__name__, time.monotonic() - started]
print("ANSWERS" + json.dumps(answers))
"""


def test_airflows_hook_speaks_to_it_over_tls(tmp_path: Path) -> None:
    with LocalWarehouse(tmp_path / "warehouse") as warehouse:
        connection = {
            "conn_type": "snowflake",
            "login": "demo",
            "password": "any",
            "schema": warehouse.schema,
            "extra": warehouse.connection_extra(),
        }
        environment = {
            **os.environ,
            **warehouse.environment(),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW_CONN_SNOWFLAKE_DEFAULT": json.dumps(connection),
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HOOK)], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answers = json.loads(done.stdout.rpartition("ANSWERS")[2])
        assert answers["one"] == 1
        assert answers["null"] is None
        kind, seconds = answers["unsupported"]
        assert kind == "ProgrammingError"
        assert seconds < 10

        with socket.create_connection(("127.0.0.1", warehouse.port), timeout=10) as plain:
            strangers = ssl.create_default_context()
            with pytest.raises(ssl.SSLCertVerificationError):
                strangers.wrap_socket(plain, server_hostname="localhost")
    assert (tmp_path / "warehouse" / "tls" / "server.pem").stat().st_mode & 0o077 == 0


@pytest.mark.long  # a warehouse of its own, twice: 11 s
def test_data_survives_a_restart_and_the_process_ends(tmp_path: Path) -> None:
    with LocalWarehouse(tmp_path, plain_http=True) as first:
        pid = first.pid
        written = flights.load(first.connect, until=datetime(2013, 1, 3, tzinfo=UTC))
    assert pid is not None
    assert not psutil.pid_exists(pid)
    with LocalWarehouse(tmp_path, plain_http=True) as second:
        again = flights.load(second.connect, until=datetime(2013, 1, 3, tzinfo=UTC))
        connection = second.connect()
        try:
            (found,) = connection.cursor().execute("SELECT COUNT(*) FROM flights").fetchone()  # type: ignore[misc, union-attr]
        finally:
            connection.close()
    assert found == written["flights"] == again["flights"] > 1000


def test_a_warehouse_that_cannot_start_says_why(tmp_path: Path) -> None:
    with LocalWarehouse(tmp_path / "a", plain_http=True) as first:
        second = LocalWarehouse(tmp_path / "b", first.port, plain_http=True)
        second.start()
        try:
            deadline = time.monotonic() + 60
            while second.running and time.monotonic() < deadline:
                time.sleep(0.1)
            with pytest.raises(ConfigurationError, match="address already in use"):
                second.wait_ready()
        finally:
            second.stop()


def test_what_is_loaded_is_what_had_become_known(tmp_path: Path) -> None:
    until = datetime(2013, 3, 10, 12, tzinfo=UTC)
    since = until - timedelta(days=1)
    everything = flights.flights()
    with LocalWarehouse(tmp_path, plain_http=True) as warehouse:
        first = flights.load(warehouse.connect, until=since)
        flights.load(warehouse.connect, since=since, until=until)
        more = flights.load(warehouse.connect, since=since, until=until)
        assert set(first) == set(flights.KEYS)
        assert set(more) == {"flights", "departures", "weather"}
        source = SnowflakeSource(warehouse.connect, source_name="snowflake:test")
        into = tmp_path / "flights.parquet"
        source.read("SELECT * FROM flights ORDER BY flight_id", {}, as_of=until, into=into, tag={})
        found = pq.read_table(into).to_pandas()
        expected = everything[everything["known_at"] < until].reset_index(drop=True)
        assert len(found) == len(expected)
        for column in (
            "flight_id",
            "tailnum",
            "late",
            "dep_delay",
            "departed_at",
            "landed_at",
            "known_at",
            "cancelled",
        ):
            assert found[column].isna().equals(expected[column].isna()), column
            both = expected[column].notna()
            assert (found.loc[both, column] == expected.loc[both, column]).all(), column
        source.read_table("departures", columns=None, as_of=until, into=into, tag={})
        published = pq.read_table(into).to_pandas()
        assert published["predict_at"].max() < until + timedelta(days=1)
        assert published["dep_delay"].isna().all()
        assert published["flight_id"].is_unique

        spoiled = flights.poison(warehouse.connect)
        assert all(count > 100 for count in spoiled.values())
        source.read_table("flights_poisoned", columns=None, as_of=until, into=into, tag={})
        bad = pq.read_table(into).to_pandas()
        assert len(bad) == len(found) + spoiled["duplicated"]
        assert int(bad["flight_id"].isna().sum()) == spoiled["null_key"]
        assert int((bad["distance"] < 0).sum()) == spoiled["negative_distance"]
        assert int((bad["sched_minute"] == 9999).sum()) == spoiled["impossible_minute"]
        assert int(bad["flight_id"].dropna().duplicated().sum()) == spoiled["duplicated"]
