"""Routes about what no single DAG owns. They need the view permission, and show what readable DAGs made."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from airflow_ml.plugin.auth import VIEW, MayReadDep, may_edit_tasks, user_name
from airflow_ml.plugin.connections import mlflow_page, registered_aliases
from airflow_ml.plugin.views.canary import canary_view
from airflow_ml.plugin.views.data import dataset_list, dataset_view
from airflow_ml.plugin.views.lineage import lineage_view
from airflow_ml.plugin.views.models import model_rows, model_view
from airflow_ml.plugin.views.overview import overview as overview_view
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.summary import RunSummary
from airflow_ml.plugin.web.answer import answer
from airflow_ml.plugin.web.parameters import Dataset, Epoch, Limit, Model, Offset, Version
from airflow_ml.plugin.web.shared import PlaceDep

router = APIRouter(prefix="/api", dependencies=[VIEW])
_READ = ["GET", "HEAD"]


def _summaries(shelf: Shelf, may_read: MayReadDep) -> list[RunSummary]:
    return list(shelf.summaries(shelf.all_heads(may_read)))


@router.api_route("/overview", methods=_READ)
async def overview(request: Request, place: PlaceDep, may_read: MayReadDep) -> Response:
    """The first page."""
    user = user_name(request.state.ml_user)
    return await answer(
        lambda: overview_view(place.shelf(), place.boards.shards, may_read, user=user, registered=registered_aliases)
    )


@router.api_route("/models", methods=_READ)
async def models(place: PlaceDep, may_read: MayReadDep) -> Response:
    """All models."""

    def read() -> dict[str, object]:
        shelf = place.shelf()
        return {"models": model_rows(shelf, _summaries(shelf, may_read), may_read, registered_aliases)}

    return await answer(read)


@router.api_route("/models/{model}", methods=_READ)
async def model(place: PlaceDep, may_read: MayReadDep, model: Model) -> Response:
    """One model."""

    def read() -> dict[str, object]:
        shelf = place.shelf()
        found = _summaries(shelf, may_read)
        return model_view(
            shelf, model, found, may_read, mlflow=mlflow_page(model, found), registered=registered_aliases
        )

    return await answer(read)


@router.api_route("/models/{model}/lineage", methods=_READ)
async def lineage(place: PlaceDep, may_read: MayReadDep, model: Model, version: Version) -> Response:
    """What a version was made from, and what from it."""

    return await answer(lambda: lineage_view(place.shelf(), place.traces, model, version, may_read))


@router.api_route("/rollouts/{model}", methods=_READ)
async def rollout(
    request: Request, place: PlaceDep, may_read: MayReadDep, model: Model, epoch: Epoch = None
) -> Response:
    """One canary."""

    def may_edit(dag_id: str) -> bool:
        return may_edit_tasks(request.state.ml_user, dag_id)

    return await answer(lambda: canary_view(place.shelf(), model, epoch, may_read=may_read, may_edit=may_edit))


@router.api_route("/datasets", methods=_READ)
async def datasets(place: PlaceDep, may_read: MayReadDep) -> Response:
    """All datasets."""
    return await answer(lambda: dataset_list(_summaries(place.shelf(), may_read)))


@router.api_route("/datasets/{name}", methods=_READ)
async def dataset(
    place: PlaceDep, may_read: MayReadDep, name: Dataset, limit: Limit = 50, offset: Offset = 0
) -> Response:
    """One dataset's snapshots."""
    return await answer(lambda: dataset_view(_summaries(place.shelf(), may_read), name, limit=limit, offset=offset))
