"""The gateway's doors: every route asks for the token, no answer and no model process holds it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.core.ports import Traffic
from airflow_ml.gateway.app import make_app
from airflow_ml.gateway.service import Gateway
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, variant

TOKEN = "planted-control-token"
ROUTES = {
    ("PUT", "/v1/models/{model}/traffic"),
    ("GET", "/v1/models/{model}/traffic"),
    ("POST", "/v1/models/{model}/predict"),
    ("POST", "/v1/models/{model}/outcomes"),
    ("GET", "/v1/models/{model}/metrics"),
    ("GET", "/healthz"),
}
#: It answers whether the gateway is up; more than that only with the token.
OPEN = {("GET", "/healthz")}


def app(folder: Path, **options: Any) -> Starlette:
    return make_app(lambda: Gateway(folder, f"file://{folder}/store", lambda: datetime.now(UTC)), **options)


async def ask(
    served: Starlette, method: str, path: str, headers: dict[str, str], body: bytes = b"{}"
) -> tuple[int, bytes]:
    """Send one request to an application, without a server."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await served(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def walk(folder: Path, headers: dict[str, str], **options: Any) -> dict[tuple[str, str], tuple[int, bytes]]:
    """Ask every route of the running application, HEAD where there is GET; return status and body of each."""
    import asyncio

    async def go() -> dict[tuple[str, str], tuple[int, bytes]]:
        served = app(folder, **options)
        answers = {}
        async with served.router.lifespan_context(served):
            for route in served.routes:
                assert isinstance(route, Route), f"a mount of its own, {route}: list what is in it"
                for method in sorted(route.methods or ()):
                    path = route.path.replace("{model}", "m")
                    answers[method, route.path] = await ask(
                        served, method, path, {"content-type": "application/json", **headers}
                    )
        return answers

    return asyncio.run(go())


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no token"),
        pytest.param({"authorization": "Bearer wrong"}, id="wrong token"),
        pytest.param({"authorization": f"Basic {TOKEN}"}, id="another scheme"),
        pytest.param({"authorization": f"Bearer {TOKEN}x"}, id="longer"),
        pytest.param({"authorization": "Bearer "}, id="empty"),
        pytest.param({"authorization": "Bearer \xff\xfe"}, id="no text"),
        pytest.param({"cookie": f"token={TOKEN}"}, id="cookie"),
    ],
)
def test_every_route_asks_for_the_token(tmp_path: Path, headers: dict[str, str]) -> None:
    answers = walk(tmp_path, headers, token=TOKEN, open_reads=False)
    assert {route for route in answers if route[0] != "HEAD"} == ROUTES, "a new route belongs into this list"
    for route, (status, body) in answers.items():
        if ("GET" if route[0] == "HEAD" else route[0], route[1]) in OPEN:
            assert status == 200
            assert body in (b"", b'{"status":"ok"}'), "nothing about models without the token"
        else:
            assert status == 401, route
        assert TOKEN.encode() not in body


def test_with_the_token_no_route_says_401(tmp_path: Path) -> None:
    answers = walk(tmp_path, {"authorization": f"Bearer {TOKEN}"}, token=TOKEN, open_reads=False)
    assert {status for status, _ in answers.values()} <= {200, 404, 422}


def test_on_loopback_reads_are_open_and_moving_traffic_is_not(tmp_path: Path) -> None:
    answers = walk(tmp_path, {}, token=TOKEN, open_reads=True)
    assert {route for route, (status, _) in answers.items() if status == 401} == {("PUT", "/v1/models/{model}/traffic")}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_page_cannot_send_what_a_form_can(tmp_path: Path, kind: str) -> None:
    """A browser sends these types to other sites without asking them; JSON it does not."""
    answers = walk(tmp_path, {"content-type": kind, "origin": "https://evil.example.com"})
    assert {answers[route][0] for route in ROUTES if route[0] in ("PUT", "POST")} == {415}


def test_another_host_is_refused(tmp_path: Path) -> None:
    """A name that was rebound to 127.0.0.1 still says its own name."""
    answers = walk(tmp_path, {"host": "evil.example.com"}, hosts=("127.0.0.1", "localhost"))
    assert {status for status, _ in answers.values()} == {400}


def test_beyond_loopback_it_does_not_start_without_a_token(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow_ml.gateway", "--directory", str(tmp_path / "state")]
    command += ["--store", f"file://{tmp_path}/store", "--host", "0.0.0.0", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "AIRFLOW_ML_GATEWAY_TOKEN"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "AIRFLOW_ML_GATEWAY_TOKEN" in ended.stderr
    assert not (tmp_path / "state" / "address").exists()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    store = FolderStore(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://ann:planted-database@db/x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "planted-aws")
        with LocalGateway(folder / "state", store.uri, token=TOKEN) as running:
            served = variant("1", identity_models(store), ["x"])
            GatewayRouter(running.url, TOKEN).write(
                Traffic(
                    model="m", epoch=1, champion=served, challenger=None, weight_percent=0.0, expires_at=None, salt=""
                )
            )
            yield running


@pytest.mark.integration
def test_a_model_process_holds_no_secret_of_the_gateway(gateway: LocalGateway) -> None:
    with urllib.request.urlopen(f"{gateway.url}/healthz", timeout=10) as answer:
        pid = json.load(answer)["models"]["m"]["champion"]["pid"]
    assert b"planted-" in Path(f"/proc/{gateway.pid}/environ").read_bytes(), "the gateway itself was given them"
    assert b"planted-" not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.integration
def test_nothing_that_the_gateway_keeps_or_says_holds_the_token(gateway: LocalGateway) -> None:
    said = []
    for method, path in [("GET", "/healthz"), ("GET", "/v1/models/m/traffic"), ("PUT", "/v1/models/m/traffic")]:
        for token in (TOKEN, "wrong"):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port or 0, timeout=10)
            connection.request(
                method, path, b"[]", {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            )
            said.append(connection.getresponse().read())
            connection.close()
    files = [path for path in gateway.directory.rglob("*") if path.is_file()]
    assert any(path.name == "traffic.sqlite" for path in files)
    assert [path.name for path in files if b"planted-" in path.read_bytes()] == []
    assert not any(b"planted-" in answer for answer in said)
