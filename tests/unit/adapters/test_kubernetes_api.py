"""Requests that are cut, stale or never answered: nothing is missed, and nothing is asked for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from airflow_ml.adapters.kubernetes_api import REQUEST_SECONDS, KubernetesApi
from airflow_ml.errors import BackendUnavailable


class Client:
    """Answers as a test says, and remembers what it was asked."""

    default_headers: Mapping[str, str] = {}
    configuration = SimpleNamespace(host="https://cluster")

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.rest_client = SimpleNamespace(pool_manager=self)

    def update_params_for_auth(self, headers: dict[str, str], *settings: Any) -> None:
        headers["authorization"] = "Bearer token"

    def request(self, method: str, url: str, **settings: Any) -> Any:
        self.asked.append({**settings, **dict(parse_qsl(urlsplit(url).query))})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, SimpleNamespace):
            return answer
        return said(200, json.dumps(answer).encode())


def said(status: int, data: bytes, kind: str = "application/json") -> Any:
    return SimpleNamespace(status=status, data=data, headers={"Content-Type": kind})


def page(*names: str, then: str = "") -> dict[str, Any]:
    return {"items": [{"name": name} for name in names], "metadata": {"continue": then} if then else {}}


def gone() -> Any:
    return said(410, b'{"message": "The provided continue parameter is too old", "reason": "Expired"}')


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
    assert {one["timeout"].total for one in there._client.asked} == {REQUEST_SECONDS}


@pytest.mark.fault("K10")
def test_what_is_no_json_stays_the_text_that_it_is() -> None:
    log = b"\xff\xfe is no UTF-8\n"
    assert api(said(200, log, "text/plain")).get("/log").body == "\N{REPLACEMENT CHARACTER}" * 2 + " is no UTF-8\n"
    assert api(said(200, b'{"loss": 0.5}\n', "text/plain")).get("/log").body == '{"loss": 0.5}\n'
