"""What happens before a page asks for anything: the pages are imported, and the browser is told what they will ask.

Airflow's own script takes a second until it looks for a plugin's, which then asks for its answer: one after the other.
An address of a page therefore names script and answer in its headers, and a browser has both when Airflow is
ready to show them.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import MutableMapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

from airflow_ml.plugin.lazy_app import App, LazyApp, Receive, Scope, Send

_LOG = logging.getLogger(__name__)

#: The pages in the navigation, and the tabs of a run and of a task instance.
_NAVIGATED = re.compile(r"/plugin/ml(?:/([a-z]+))?$")
_TAB = re.compile(r"/dags/([^/]+)/runs/([^/]+)(?:/tasks/([^/]+)(?:/mapped/(\d+))?)?/plugin/ml-(?:run|task)$")
#: Names have at most 250 characters; whoever sends more is not helped.
_LONGEST_QUERY = 4_000
#: Without Airflow's cookie there is nobody to answer.
_SESSION = b"_token="


class Preload:
    """Stands before Airflow's application, in each worker of an API server.

    Airflow builds its middlewares as a worker begins to serve, and nowhere else: that is when the pages are imported,
    and the newest runs read, in a thread of its own.

    Args:
        app: Airflow's application.
        pages: The pages behind their prefix.
    """

    def __init__(self, app: App, pages: LazyApp) -> None:
        self._app = app
        with contextlib.suppress(RuntimeError):  # no thread to be had: the first request waits, as it would have
            pages.prepare()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; where it is for one of the pages, its answer names what the page needs."""
        link = self._harmless_link(scope) if scope["type"] == "http" else b""
        if not link:
            await self._app(scope, receive, send)
            return

        async def with_link(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message = {**message, "headers": [*message["headers"], (b"link", link)]}
            await send(message)

        await self._app(scope, receive, with_link)

    def _harmless_link(self, scope: Scope) -> bytes:
        try:
            return self._link(scope)
        except Exception:  # whatever is broken here, Airflow's own pages are not
            _LOG.exception("What a page needs cannot be named ahead")
            return b""

    def _link(self, scope: Scope) -> bytes:
        path = str(scope["path"])
        if "/plugin/ml" not in path or len(scope["query_string"]) > _LONGEST_QUERY:
            return b""
        if not any(name == b"cookie" and _SESSION in value for name, value in scope["headers"]):
            return b""
        route = wanted(path, scope["query_string"].decode("latin-1"))
        if route is None:
            return b""
        script, api = self._places
        return (f"<{script}>; rel=modulepreload, <{api}{route}>; rel=preload; as=fetch; crossorigin=anonymous").encode(
            "ascii"
        )

    @cached_property
    def _places(self) -> tuple[str, str]:
        from airflow_ml.plugin import URL_PREFIX
        from airflow_ml.plugin.bundle import base_path, bundle_url

        return bundle_url(), f"{base_path()}{URL_PREFIX}/api/"


def wanted(path: str, query: str = "") -> str | None:
    """Return what the page at an address asks first, as it writes it: else the browser would ask twice.

    Args:
        path: The address below Airflow's own, decoded.
        query: The address's query, as sent.

    Returns:
        Path and query below ``/airflow-ml/api/``; None for an address that is no page, or lacks a name.
    """
    if tab := _TAB.search(path):
        dag, run, task, map_index = tab.groups()
        return _task(dag, run, task, map_index or "-1") if task else _of_dag("run", dag, run_id=run)
    page = _NAVIGATED.search(path)
    if page is None:
        return None
    asked = dict(parse_qsl(query))
    dag, run, task = (asked.get(name, "") for name in ("dag_id", "run_id", "task_id"))
    match page[1]:
        case None:
            return "overview"
        case "models":
            return "models"
        case "data":
            return "datasets"
        case "model" if name := asked.get("model"):
            return f"models/{_segment(name)}"
        case "canary" if name := asked.get("model"):
            return _with_query(f"rollouts/{_segment(name)}", epoch=asked.get("epoch", ""))
        case "dataset" if name := asked.get("name"):
            return _with_query(f"datasets/{_segment(name)}", limit="50", offset="0")
        case "run" if dag and run:
            return _of_dag("run", dag, run_id=run)
        case "sweep" | "snapshot" as kind if dag and run and task:
            return _of_dag(kind, dag, run_id=run, task_id=task)
        case "task" if dag and run and task:
            return _task(dag, run, task, asked.get("map_index", "-1"))
        case _:
            return None


def _task(dag: str, run: str, task: str, map_index: str) -> str:
    mapped = map_index if map_index.isascii() and map_index.isdigit() else ""
    return _of_dag("task", dag, run_id=run, task_id=task, map_index=mapped)


def _of_dag(kind: str, dag: str, **query: str) -> str:
    return _with_query(f"dags/{_segment(dag)}/{kind}", **query)


def _segment(name: str) -> str:
    """Return a name as ``encodeURIComponent`` writes it."""
    return quote(name, safe="!'()*~")


def _with_query(path: str, **query: str) -> str:
    """Return an address as ``URLSearchParams`` writes it, without what is empty."""
    written = "&".join(
        f"{name}={quote_plus(value, safe='*').replace('~', '%7E')}" for name, value in query.items() if value
    )
    return f"{path}?{written}" if written else path
