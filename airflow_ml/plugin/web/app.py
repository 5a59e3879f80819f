"""The application: its routes, and what every request passes. Airflow mounts it below ``/airflow-ml``."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from airflow_ml.plugin.airflow_state import told_by_shards
from airflow_ml.plugin.place import Place
from airflow_ml.plugin.web import action_routes, dag_routes, shared_routes, static_routes
from airflow_ml.plugin.web.answer import problem
from airflow_ml.plugin.web.guard import Guard


def create_app() -> FastAPI:
    """Return the application, without a documentation of its own: that would be a route without a permission."""
    app = FastAPI(title="airflow_ml", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.place = Place(told_by_shards)
    for module in (dag_routes, shared_routes, action_routes, static_routes):
        app.include_router(module.router)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_middleware(Guard)
    return app


async def _http_error(request: Request, error: Any) -> Response:
    answer = problem(error.status_code, str(error.detail), getattr(error, "remedy", ""))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _bad_request(request: Request, error: Any) -> Response:
    """Name the parameter and what is wrong with it, and never say back what was sent."""
    found = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()[:5]]
    return problem(422, "; ".join(found)[:500], "See the parameters of this route.")
