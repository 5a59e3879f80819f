"""Fill the local warehouse with the flights of the first three months of 2013. Loading again changes nothing."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_ml.testing.warehouse import connect
from demo import flights

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

UNTIL = datetime(2013, 4, 1, tzinfo=UTC)


def warehouse() -> SnowflakeConnection:
    """Connect to the service ``warehouse``."""
    extra = {"account": "warehouse", "host": os.environ["WAREHOUSE_HOST"], "port": int(os.environ["WAREHOUSE_PORT"])}
    return connect({**extra, "database": "ML", "warehouse": "LOCAL"}, schema="FLIGHTS")


if __name__ == "__main__":
    written = flights.load(warehouse, until=UNTIL)
    spoiled = flights.poison(warehouse)
    sys.stdout.write(f"Loaded {written}; spoiled copy {spoiled}\n")
