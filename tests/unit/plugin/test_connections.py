"""What the pages ask of other systems: an answer, or nothing, and never for long."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_ml.plugin import connections
from airflow_ml.plugin.connections import registered_aliases

ASKED: list[str] = []


class Registry(BaseHTTPRequestHandler):
    """Answers as MLflow does; as somebody else for a model named so."""

    def do_GET(self) -> None:
        ASKED.append(self.path)
        rows = [{"alias": "champion", "version": "7"}]
        answer = ["no", "model"] if "stranger" in self.path else {"registered_model": {"aliases": rows}}
        body = json.dumps(answer).encode()
        self.send_response(302 if "moved" in self.path else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ASKED.clear()
    connections._aliases.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("AIRFLOW_CONN_REGISTRY", json.dumps({"conn_type": "mlflow", "host": host}))
        yield
        server.shutdown()


def test_aliases_are_asked_for_once_in_a_while() -> None:
    assert registered_aliases("a model/ü", "registry") == {"champion": "7"}
    assert registered_aliases("a model/ü", "registry") == {"champion": "7"}
    assert ASKED == ["/api/2.0/mlflow/registered-models/get?name=a+model%2F%C3%BC"]


@pytest.mark.parametrize("model", ["a stranger", "moved"])
def test_an_answer_that_is_none_of_mlflow_says_nothing(model: str) -> None:
    """A redirect is not followed either: the password would go along."""
    assert registered_aliases(model, "registry") == {}
    assert len(ASKED) == 1


def test_no_connection_and_no_server_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", json.dumps({"conn_type": "mlflow", "host": "http://127.0.0.1:9"}))
    monkeypatch.setenv("AIRFLOW_CONN_FILES", json.dumps({"conn_type": "mlflow", "host": "file:///etc/passwd"}))
    assert [dict(registered_aliases("m", conn)) for conn in (None, "", "nobody_knows", "away", "files")] == [{}] * 5
    assert ASKED == []
