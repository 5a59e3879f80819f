"""The one route that changes something: what a person does with a canary."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from airflow_ml.core.rollout_look import APPROVE
from airflow_ml.errors import ConfigurationError, FencedOut, RefConflict
from airflow_ml.plugin.actions import TooLate, act, approval_of
from airflow_ml.plugin.approval import approve
from airflow_ml.plugin.auth import EDIT_TASKS, READ_DAG, user_name
from airflow_ml.plugin.web.answer import Problem, answer
from airflow_ml.plugin.web.parameters import DagId, Model
from airflow_ml.plugin.web.shared import PlaceDep

_SHORTEST_REASON = 3


def _one_line(text: str) -> str:
    """Return a sentence on one line without characters that are not seen: it stands in records, logs and terminals."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) < _SHORTEST_REASON:
        raise ValueError(f"at least {_SHORTEST_REASON} characters")
    return line


class Action(BaseModel):
    """What to do, and why."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["hold", "resume", "roll_back", "approve", "promote"]
    reason: Annotated[str, AfterValidator(_one_line), Field(max_length=500)]
    epoch: int = Field(ge=0, le=2**53)
    #: Of several challengers the one to promote.
    arm: Annotated[str, Field(max_length=64)] = ""


router = APIRouter(prefix="/api/dags/{dag_id}", dependencies=[READ_DAG, EDIT_TASKS])
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": Action.model_json_schema()}}}}


@router.post("/rollouts/{model}/actions", openapi_extra=_BODY)
async def actions(request: Request, place: PlaceDep, dag_id: DagId, model: Model) -> Response:
    """Act on the DAG's rollout of a model.

    The body is read here and not by the framework, which would read it before it asks for permission.
    """
    user = request.state.ml_user
    try:
        body = Action.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error

    def do() -> dict[str, object]:
        shelf, reason = place.shelf(), body.reason
        if body.action == APPROVE:
            task = approval_of(shelf, dag_id, model, epoch=body.epoch)
            approve(task, user, reason)
            result = "Approved: the rollout goes on at its step, with its evidence, as soon as its task runs."
            return {"action": body.action, "sequence": task["sequence"], "result": result}
        try:
            who = user_name(user)
            return act(shelf, dag_id, model, action=body.action, epoch=body.epoch, who=who, why=reason, arm=body.arm)
        except ConfigurationError as error:
            raise Problem(422, error.what, error.remedy) from error
        except (FencedOut, RefConflict) as error:
            raise TooLate(error.what) from error

    try:
        return await answer(do)
    except TooLate as error:
        raise Problem(409, str(error), "Look at the rollout as it is now.") from error
