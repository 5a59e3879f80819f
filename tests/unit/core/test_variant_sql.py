"""The warehouse's division of rows against Python's own, in DuckDB."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.arms import arm_names
from airflow_ml.core.variant_sql import _PLACES, _places, assign_row, divided_spine, place_of

SALTED = "salt"


def divide(units: list[str | None], weight: float, arms: tuple[str, ...] = ("challenger",)) -> list[str]:
    statement = divided_spine("SELECT * FROM spine;", unit="tailnum", weight_percent=weight, arms=arms)
    assert "%(airflow_ml_salt)s" in statement or weight in (0.0, 100.0)
    # What Snowflake calls SHA2_HEX is sha256 here.
    text = (
        statement.replace("%(airflow_ml_salt)s", f"'{SALTED}'").replace("SHA2_HEX(", "sha256(").replace(", 256)", ")")
    )
    connection = duckdb.connect()
    connection.execute("CREATE TABLE spine (n INTEGER, TAILNUM VARCHAR)")
    connection.executemany("INSERT INTO spine VALUES (?, ?)", list(enumerate(units)))
    return [row[2] for row in connection.execute(f"{text} ORDER BY n").fetchall()]


@pytest.mark.parametrize("weight", [0.0, 0.5, 5.0, 33.3, 50.0, 99.99, 100.0])
def test_sql_and_python_divide_alike(weight: float) -> None:
    units: list[str | None] = [f"N{number}é" for number in range(500)]
    found = divide(units, weight)
    assert found == [assign_row(SALTED, str(unit), weight) for unit in units]
    assert abs(found.count("challenger") / 500 - weight / 100) < 0.08


@pytest.mark.parametrize(("count", "weight"), [(0, 0.0), (2, 0.0), (2, 5.0), (3, 20.0), (3, 100 / 3), (4, 24.9)])
def test_several_challengers_are_divided_alike(count: int, weight: float) -> None:
    units: list[str | None] = [f"N{number}" for number in range(500)]
    arms = arm_names(count)
    found = divide(units, weight, arms)
    assert found == [assign_row(SALTED, str(unit), weight, arms) for unit in units]
    for arm in arms:
        assert abs(found.count(arm) / 500 - weight / 100) < 0.08


@pytest.mark.parametrize("weight", [0.0, 50.0, 100.0])
def test_a_row_without_a_unit_stays_with_the_champion(weight: float) -> None:
    assert divide([None, None], weight) == ["champion", "champion"]


def test_raising_the_weight_only_moves_units_to_the_challenger() -> None:
    units: list[str | None] = [f"u{number}" for number in range(300)]
    low, high = divide(units, 10.0), divide(units, 40.0)
    assert all(after == "challenger" for before, after in zip(low, high, strict=True) if before == "challenger")


@given(st.floats(0, 20), st.integers(1, 4), st.text(max_size=20))
def test_the_edges_are_where_the_comparison_changes(weight: float, count: int, unit: str) -> None:
    arms = arm_names(count)
    place = int(place_of("s", unit) * _PLACES)
    found = [arm for arm, start, end in _places(weight, arms) if start <= place < end]
    assert (found or ["champion"]) == [assign_row("s", unit, weight, arms)]


def test_a_column_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        divided_spine("SELECT 1", unit='x"; DROP TABLE t; --', weight_percent=5)
