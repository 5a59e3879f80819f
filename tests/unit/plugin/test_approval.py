"""A parked canary is approved by whom Airflow lets answer, and by nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import HTTPException

from airflow_ml.plugin import approval, auth

TASK = {"dag_id": "release", "run_id": "r", "task_id": "canary", "map_index": -1}


class Manager:
    """An auth manager that lets a user edit tasks and answer nothing, as a role of its own may say."""

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: Any) -> bool:
        assert (method, details.id, user) == ("PUT", "release", "ann")
        return bool(access_entity == DagAccessEntity.TASK_INSTANCE)


def test_who_may_edit_tasks_and_not_answer_cannot_approve(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("answered without the right to")

    monkeypatch.setattr(auth, "get_auth_manager", Manager)
    monkeypatch.setattr(auth.DagModel, "get_team_name", staticmethod(lambda dag_id: None))
    monkeypatch.setattr(approval, "update_hitl_detail", answered)
    monkeypatch.setattr(approval, "create_session", answered)
    assert auth.may_edit_tasks("ann", "release")
    with pytest.raises(HTTPException) as refused:
        approval.approve(TASK, "ann", "looks good")
    assert refused.value.status_code == 403


class Ann:
    def get_name(self) -> str:
        return "ann"


class Session:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None: ...

    def add(self, entry: Any) -> None:
        self.told.append(entry)

    def commit(self) -> None:
        self.told.append("committed")


def test_an_approval_is_in_airflows_audit_log_before_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()

    def update_hitl_detail(*args: Any, **kwargs: Any) -> None:
        session.told.append("answered")

    monkeypatch.setattr(approval, "may_answer", lambda user, dag_id: True)
    monkeypatch.setattr(approval, "create_session", lambda: session)
    monkeypatch.setattr(approval, "update_hitl_detail", update_hitl_detail)
    approval.approve(TASK, Ann(), "looks good")
    entry, *rest = session.told
    assert rest == ["committed", "answered"]
    assert (entry.event, entry.owner) == ("update_hitl_detail", "ann")
    assert (entry.dag_id, entry.run_id, entry.task_id, entry.map_index) == ("release", "r", "canary", -1)
    assert '"reason": "looks good"' in entry.extra
