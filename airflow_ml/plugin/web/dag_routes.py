"""Routes about what one DAG made. Each has a literal ``{dag_id}`` in its path and needs to read that DAG."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from airflow_ml.plugin.auth import READ_DAG
from airflow_ml.plugin.connections import query_history_of
from airflow_ml.plugin.views.chart import sweep_chart
from airflow_ml.plugin.views.data import snapshot_view
from airflow_ml.plugin.views.objectives import picture
from airflow_ml.plugin.views.run import run_diff, run_list, run_view
from airflow_ml.plugin.views.sweep import sweep_view
from airflow_ml.plugin.views.task import preview, task_view
from airflow_ml.plugin.views.trials import RANK, trial_page, trial_view, trials_csv
from airflow_ml.plugin.views.trials import Query as TrialQuery
from airflow_ml.plugin.web.answer import answer
from airflow_ml.plugin.web.parameters import (
    DagId,
    Digest,
    Limit,
    MapIndex,
    Offset,
    Picture,
    Points,
    RunId,
    TaskId,
    Trial,
    Word,
)
from airflow_ml.plugin.web.shared import PlaceDep

router = APIRouter(prefix="/api/dags/{dag_id}", dependencies=[READ_DAG])
_READ = ["GET", "HEAD"]


@router.api_route("/runs", methods=_READ)
async def runs(place: PlaceDep, dag_id: DagId, limit: Limit = 50, offset: Offset = 0) -> Response:
    """The runs of the DAG, newest first."""
    return await answer(lambda: run_list(place.shelf(), dag_id, limit=limit, offset=offset))


@router.api_route("/run", methods=_READ)
async def run(place: PlaceDep, dag_id: DagId, run_id: RunId) -> Response:
    """One run, stage by stage."""
    return await answer(lambda: run_view(place.shelf(), dag_id, run_id))


@router.api_route("/diff", methods=_READ)
async def diff(place: PlaceDep, dag_id: DagId, run_id: RunId, with_run_id: RunId) -> Response:
    """What differs from another run."""
    return await answer(lambda: run_diff(place.shelf(), dag_id, run_id, with_run_id))


@router.api_route("/task", methods=_READ)
async def task(place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId, map_index: MapIndex = -1) -> Response:
    """One task instance."""
    return await answer(lambda: task_view(place.shelf(), dag_id, run_id, task_id, map_index))


@router.api_route("/preview", methods=_READ)
async def table(
    place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId, digest: Digest, map_index: MapIndex = -1
) -> Response:
    """The first rows of a table that a task took or made."""
    return await answer(lambda: preview(place.shelf(), dag_id, run_id, task_id, map_index, digest))


@router.api_route("/snapshot", methods=_READ)
async def snapshot(place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId) -> Response:
    """One snapshot with its profile and gate."""
    return await answer(lambda: snapshot_view(place.shelf(), dag_id, run_id, task_id, query_history=query_history_of))


@router.api_route("/sweep", methods=_READ)
async def sweep(place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId) -> Response:
    """One sweep."""
    return await answer(lambda: sweep_view(place.shelf(), place.boards, dag_id, run_id, task_id))


@router.api_route("/sweep/trials", methods=_READ)
async def trials(
    place: PlaceDep,
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    sort: Word = RANK,
    order: Annotated[Literal["asc", "desc"], Query()] = "asc",
    status: Word = "",
    group: Word = "",
    text: Word = "",
    front: bool = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """One page of a sweep's trials."""
    query = TrialQuery(
        sort=sort or RANK, descending=order == "desc", status=status, group=group, text=text, front=front, limit=limit,
        offset=offset,
    )  # fmt: skip
    return await answer(lambda: trial_page(place.shelf(), place.boards, dag_id, run_id, task_id, query))


@router.api_route("/sweep/chart", methods=_READ)
async def chart(
    place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId, points: Points = 500, group: Word = ""
) -> Response:
    """What the sweep's pictures are drawn from."""
    return await answer(
        lambda: sweep_chart(place.shelf(), place.boards, dag_id, run_id, task_id, points=points, group=group)
    )


@router.api_route("/sweep/trial", methods=_READ)
async def trial(place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId, trial: Trial) -> Response:
    """One trial."""
    return await answer(lambda: trial_view(place.shelf(), place.boards, dag_id, run_id, task_id, trial))


@router.api_route("/sweep/picture", methods=_READ)
async def drawn(place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId, name: Picture) -> Response:
    """One of the pictures that the sweep's own task has drawn."""

    def read() -> Response:
        return Response(picture(place.shelf(), dag_id, run_id, task_id, name), media_type="image/png")

    return await answer(read)


@router.api_route("/sweep/csv", methods=_READ)
async def as_csv(place: PlaceDep, dag_id: DagId, run_id: RunId, task_id: TaskId) -> Response:
    """All trials of a sweep as CSV."""

    def read() -> Response:
        pieces = trials_csv(place.shelf(), place.boards, dag_id, run_id, task_id)
        headers = {"Content-Disposition": 'attachment; filename="trials.csv"'}
        return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)

    return await answer(read)
