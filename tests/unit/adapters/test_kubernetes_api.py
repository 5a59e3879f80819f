"""Requests that are cut, stale or never answered: nothing is missed, and nothing is asked for ever."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from airflow_ml.adapters.kubernetes_api import REQUEST_SECONDS, KubernetesApi
from airflow_ml.errors import BackendUnavailable


class Client:
    """Answers as a test says, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.rest_client = SimpleNamespace(pool_manager=SimpleNamespace(connection_pool_kw={}))

    def call_api(self, path: str, method: str, **settings: Any) -> Any:
        self.asked.append({**settings, **dict(settings["query_params"])})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer, 200, {}


def page(*names: str, then: str = "") -> dict[str, Any]:
    return {"items": [{"name": name} for name in names], "metadata": {"continue": then} if then else {}}


def gone() -> ApiException:
    error = ApiException(status=410, reason="Gone")
    error.body = json.dumps({"message": "The provided continue parameter is too old", "reason": "Expired"})
    return error


def api(*answers: Any) -> KubernetesApi:
    return KubernetesApi(Client(*answers), sleep=lambda seconds: None)


@pytest.mark.fault("K2")
def test_a_list_whose_token_is_too_old_is_read_again_from_the_start() -> None:
    there = api(page("a", then="1"), gone(), page("a", then="2"), page("b", "c"))
    assert [one["name"] for one in there.pages("/pods")] == ["a", "a", "b", "c"]
    assert [one.get("continue") for one in there._client.asked] == [None, "1", None, "2"]


@pytest.mark.fault("K2")
def test_a_list_that_is_never_whole_is_given_up() -> None:
    there = KubernetesApi(Client(*[page("a", then="1"), gone()] * 50), sleep=lambda seconds: None)
    with pytest.raises(BackendUnavailable, match="too old"):
        list(there.pages("/pods"))
    assert len(there._client.asked) < 20


@pytest.mark.fault("K2")
@pytest.mark.parametrize(
    "cut",
    [ProtocolError("connection broken"), ReadTimeoutError(None, "/jobs", "silent"), ConnectionResetError()],  # type: ignore[arg-type]
)
def test_an_answer_that_is_cut_or_never_comes_is_asked_for_again(cut: Exception) -> None:
    there = api(cut, cut, {"status": {"succeeded": 3}})
    assert there.get("/jobs/one").body == {"status": {"succeeded": 3}}
    assert {one["_request_timeout"] for one in there._client.asked} == {REQUEST_SECONDS}
