"""Answering the question that a parked canary asks on Airflow's page of required actions, in a person's name."""

from __future__ import annotations

import json
from typing import Any

from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.models.log import Log
from airflow.utils.session import create_session

from airflow_ml.operators.approval import APPROVED, REASON
from airflow_ml.plugin.auth import may_answer, user_name


def approve(task: dict[str, Any], user: Any, reason: str) -> None:
    """Say yes. The person must have the right to answer and, where the task names who is asked, be one of them.

    Airflow itself checks the names, and that nobody has answered; the right it checks before its route, which this call
    goes past. So is its audit log written, which has the same event for this page as for Airflow's own, and like there
    before the answer, whatever comes of it.

    Raises:
        HTTPException: 403, 404 or 409 as Airflow says.
    """
    from fastapi import HTTPException

    if not may_answer(user, task["dag_id"]):
        raise HTTPException(403, "Forbidden")
    answer = UpdateHITLDetailPayload(chosen_options=[APPROVED], params_input={REASON: reason})
    with create_session() as session:
        session.add(_audit_entry(task, user, answer))
        session.commit()
        update_hitl_detail(
            task["dag_id"], task["run_id"], task["task_id"], answer, user, session, map_index=task["map_index"]
        )


def _audit_entry(task: dict[str, Any], user: Any, answer: UpdateHITLDetailPayload) -> Log:
    said = {**answer.model_dump(), "map_index": str(task["map_index"]), "method": "POST", "by": "airflow_ml"}
    return Log(
        event=update_hitl_detail.__name__,
        owner=user_name(user),
        owner_display_name=user_name(user),
        extra=json.dumps(said),
        dag_id=task["dag_id"],
        task_id=task["task_id"],
        run_id=task["run_id"],
        map_index=task["map_index"],
    )
