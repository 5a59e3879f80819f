"""The pages' API, asked anything: no request makes it fail, and none is answered without a session."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.testing.pages import PREFIX, Pages, serve_pages
from airflow_ml.testing.recorded_line import Line

#: Values that mean something, beside those that mean nothing.
KNOWN = {
    "dag_id": ["flights", "nothing"], "run_id": ["one", "two"], "with_run_id": ["one"], "model": ["flights_model"],
    "name": ["flights_rows", "airflow_ml.js"], "task_id": ["train.collect", "snapshot", "gate_dataset", "train"],
    "trial": ["t00003"], "version": ["1"], "sort": ["rank", "auc", "params", "learning_rate"],
}  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    store = FolderStore(tmp_path_factory.mktemp("fuzz") / "store")
    line = Line(store)
    line.record_run("one")
    line.record_rollout("canary", looks=3, end=False)
    with serve_pages(store.uri, ["flights"], tmp_path_factory.mktemp("auth")) as found:
        yield found


def schema_of(pages: Pages) -> Any:
    """Return the application's own description, in which names that exist are as likely as any others."""
    with warnings.catch_warnings(action="ignore"):  # GET and HEAD of a route have one name
        raw = pages.app.openapi()
    for path in raw["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in KNOWN:
                    parameter["schema"] = {"anyOf": [{"enum": KNOWN[parameter["name"]]}, parameter["schema"]]}
    return schemathesis.openapi.from_dict(raw)


def ask_everything(pages: Pages, examples: int) -> int:
    """Ask every operation so many random questions; return how many were answered with 200."""
    good = 0
    for result in schema_of(pages).get_all_operations():
        operation = result.ok()
        if operation.method.upper() == "HEAD":
            continue

        @settings(
            max_examples=examples, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @schemathesis_case(operation)
        def one(case: Any) -> None:
            nonlocal good
            arguments = case.as_transport_kwargs(base_url=f"http://testserver{PREFIX}")
            headers = {**dict(arguments.pop("headers", None) or {}), **pages.headers("admin")}
            url, method = arguments.pop("url"), arguments.pop("method")
            arguments.pop("cookies", None)
            answer = pages.client.request(method, url, headers=headers, **arguments)
            assert answer.status_code in (200, 403, 404, 405, 409, 413, 415, 422), (url, answer.text[:300])
            good += answer.status_code == 200

        one()
    return good


def schemathesis_case(operation: Any) -> Any:
    """Give an operation's cases to a test."""
    from hypothesis import given

    return given(case=operation.as_strategy())


def test_nothing_makes_it_fail(pages: Pages) -> None:
    assert ask_everything(pages, 6) > 5


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_nothing_makes_it_fail_at_length(pages: Pages) -> None:
    assert ask_everything(pages, 300) > 100
