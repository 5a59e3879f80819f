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
