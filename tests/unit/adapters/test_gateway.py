from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
from airflow_ml.core.ports import Traffic
from airflow_ml.errors import ConfigurationError, FencedOut, MetricUnreadable, RouterFailed
from airflow_ml.gateway.wire import traffic_to_wire

TRAFFIC = Traffic(
    model="m", epoch=2, champion={"version": "1"}, challenger=None, weight_percent=0.0, expires_at=None, salt="s"
)


class Server(ThreadingHTTPServer):
    """Answers every request with one status, headers and body, and remembers what it was asked."""

    status = 200
    clock_ahead_seconds = 0.0
    headers: dict[str, str]
    body: bytes

    def __init__(self) -> None:
        self.headers, self.body, self.asked = {"Content-Type": "application/json"}, b"{}", []
        super().__init__(("127.0.0.1", 0), Handler)

    asked: list[tuple[str, str | None]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((f"{self.command} {self.path}", self.headers.get("Authorization")))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_PUT = do_POST = answer

    def date_time_string(self, timestamp: float | None = None) -> str:
        """What the answer's Date says."""
        return super().date_time_string(time.time() + self.server.clock_ahead_seconds)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "url",
    ["", "gateway:80", "ftp://gateway", "http://", "http://user:secret@gateway", "http://gateway:x", "file:///etc"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="address of a gateway") as caught:
        GatewayRouter(url)
    assert "secret" not in str(caught.value)


def test_a_redirect_is_not_followed(server: Server) -> None:
    other = Server()
    server.status, server.headers = 302, {"Location": other.url, "Content-Type": "text/html"}
    with pytest.raises(RouterFailed, match="302"):
        GatewayRouter(server.url, "tok").read("m")
    with pytest.raises(MetricUnreadable, match="302"):
        GatewayMetrics(server.url).read("m", metric="brier", epoch=1)
    assert other.asked == []
    other.server_close()


def test_a_link_local_address_gets_no_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import http.client

    class Peer:
        def __init__(self, sock: Any) -> None:
            self._sock = sock

        def getpeername(self) -> tuple[str, int]:
            return "169.254.169.254", 80

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    connect = http.client.HTTPConnection.connect

    def rebound(self: http.client.HTTPConnection) -> None:
        connect(self)
        self.sock = Peer(self.sock)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", rebound)
    with pytest.raises(RouterFailed, match=r"169\.254\.169\.254"):
        GatewayRouter(server.url, "tok").read("m")
    assert server.asked == []


def test_the_token_is_sent_and_the_path_is_kept(server: Server) -> None:
    server.body = json.dumps(traffic_to_wire(TRAFFIC)).encode()
    assert GatewayRouter(f"{server.url}/behind/", "tok").read("m") == TRAFFIC
    assert server.asked == [("GET /behind/v1/models/m/traffic", "Bearer tok")]


def test_a_404_of_another_server_is_no_unknown_model(server: Server) -> None:
    server.status = 404
    with pytest.raises(RouterFailed, match="404"):
        GatewayRouter(server.url).read("m")
    server.body = b'{"kind": "ModelNotFound", "error": "no such model"}'
    assert GatewayRouter(server.url).read("m") is None


def test_a_conflict_is_fenced_out_with_the_held_epoch(server: Server) -> None:
    server.status, server.body = 409, b'{"what": "Traffic of m is held by epoch 5", "actual": "this write has epoch 2"}'
    with pytest.raises(FencedOut, match="held by epoch 5: this write has epoch 2"):
        GatewayRouter(server.url).write(TRAFFIC)


def test_another_division_than_was_written_is_an_error(server: Server) -> None:
    server.body = json.dumps(traffic_to_wire(TRAFFIC) | {"weight_percent": 100}).encode()
    with pytest.raises(RouterFailed, match="100"):
        GatewayRouter(server.url).write(TRAFFIC)


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_a_split_at_a_gateway_with_another_clock_is_refused_and_an_end_is_not(server: Server, ahead: float) -> None:
    """By a clock that is ahead the split ends at once, by one that is behind long after its owner was lost."""
    server.clock_ahead_seconds = ahead
    split = replace(TRAFFIC, expires_at=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=300))
    server.body = json.dumps(traffic_to_wire(split)).encode()
    with pytest.raises(RouterFailed, match=rf"clock .* differs .*by {ahead - 1:.0f} s|by {ahead:.0f} s"):
        GatewayRouter(server.url).write(split)
    server.body = json.dumps(traffic_to_wire(TRAFFIC)).encode()
    GatewayRouter(server.url).write(TRAFFIC)
    server.clock_ahead_seconds = ahead / 20
    server.body = json.dumps(traffic_to_wire(split)).encode()
    GatewayRouter(server.url).write(split)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5", b"{}", b'{"model": "m"}', b'{"samples": 5}'])
def test_nonsense_is_an_error_in_words(server: Server, body: bytes) -> None:
    server.body = body
    router, metrics = GatewayRouter(server.url), GatewayMetrics(server.url)
    with pytest.raises(RouterFailed):
        router.read("m")
    with pytest.raises(RouterFailed):
        router.ping()
    with pytest.raises(MetricUnreadable):
        metrics.read("m", metric="brier", epoch=1)


@pytest.mark.parametrize("name", ["../etc", "a b", ""])
def test_a_model_name_cannot_change_the_path(server: Server, name: str) -> None:
    with pytest.raises(ConfigurationError):
        GatewayRouter(server.url).read(name)
    assert server.asked == []
