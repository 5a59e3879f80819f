"""Which state of a job's task is final, by Airflow's own table of task instances."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from airflow_ml.plugin import airflow_state

OWNER = {"namespace": "prod", "dag": "d", "run": "r", "task": "t"}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what puts task instances into a database that has this one table."""
    from airflow.models.taskinstance import TaskInstance

    engine = create_engine("sqlite://")
    table = TaskInstance.__table__
    columns = ", ".join(column.name for column in table.columns)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE task_instance ({columns})")

    @contextmanager
    def create_session() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    monkeypatch.setattr(airflow_state, "create_session", create_session)

    def put(**values: Any) -> None:
        names = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, **values}
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO task_instance ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                tuple(names.values()),
            )

    return put


@pytest.mark.parametrize(
    ("state", "final"),
    [("failed", "failed"), ("success", "success"), ("deferred", ""), ("up_for_retry", ""), (None, ""), ("queued", "")],
)
def test_only_ends_are_final(rows: Any, state: str | None, final: str) -> None:
    rows(state=state)
    assert airflow_state.final_state(OWNER) == final


def test_a_task_that_is_gone_is_removed_and_an_instance_is_its_own(rows: Any) -> None:
    rows(state="failed", map_index=3)
    assert airflow_state.final_state(OWNER) == "removed"
    assert airflow_state.final_state({**OWNER, "map_index": "3"}) == "failed"


def test_what_cannot_be_asked_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise OSError("no database")

    monkeypatch.setattr(airflow_state, "create_session", away)
    assert airflow_state.final_state(OWNER) == ""
    assert airflow_state.final_state({"dag": "d"}) == ""
