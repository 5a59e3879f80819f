"""What the package adds to Airflow's own surface: no route, no link to elsewhere, no password sent along a redirect."""

from __future__ import annotations

import ast
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.plugins_manager import AirflowPlugin

import airflow_ml
from airflow_ml.hooks.gateway import GatewayHook
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.rollout import rollout_driver
from airflow_ml.plugin.lazy_app import LazyApp
from airflow_ml.plugin.preload import Preload
from airflow_ml.triggers.canary import CanaryTrigger

PACKAGE = Path(airflow_ml.__file__).parent
#: Places where a plugin may add something that answers requests or runs in the API server.
SERVED = (
    "fastapi_apps",
    "fastapi_root_middlewares",
    "flask_blueprints",
    "appbuilder_views",
    "appbuilder_menu_items",
    "external_views",
    "react_apps",
)


def test_the_plugins_one_application_is_the_one_whose_routes_are_walked() -> None:
    """tests/security/test_pages.py asks every route of it; whatever else would answer requests has no such test."""
    ours = [point for point in entry_points(group="airflow.plugins") if point.value.startswith("airflow_ml.")]
    (plugin,) = [point.load()() for point in ours]
    assert isinstance(plugin, AirflowPlugin)
    served = {place for place in SERVED if getattr(plugin, place)}
    assert served == {"fastapi_apps", "fastapi_root_middlewares", "react_apps"}
    (app,) = plugin.fastapi_apps
    assert type(app["app"]) is LazyApp
    # It answers nothing itself (tests/unit/plugin/test_preload.py).
    (place,) = plugin.fastapi_root_middlewares
    assert place["middleware"] is Preload


#: Ways in which bytes or text become running code or a page; ruff's S rules know only some of them.
BANNED = {
    r"(?<!``)\bmlflow\.[a-z.]*\.load_model\(": "loading a model runs its author's code",
    r"\ballow_pickle\s*=\s*True": "pickle",
    r"\bweights_only\s*=\s*False": "pickle",
    r"(?<!\()\btrusted\s*=\s*True(?!`|\))": "skops takes a list of types; a pickle has its one place",
    r"\b(joblib|cloudpickle|dill)\.load": "pickle",
    r"innerHTML|dangerouslySetInnerHTML|\|\s*safe\b|\bMarkup\(": "text from data becomes markup",
    r"\bshell\s*=\s*True": "arguments become a command line",
    r"verify\s*=\s*False|_create_unverified_context|CERT_NONE": "anybody may answer",
}


#: The one place where a pickle is loaded: for a consumer who says so, in a clean interpreter (its own tests show both).
PICKLES = "runtime/trusted_pickle.py"


@pytest.mark.parametrize("pattern", list(BANNED))
def test_no_dangerous_call(pattern: str) -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix not in (".py", ".js", ".html") or path.name == "eslint.config.js":  # bans them, too
            continue
        if "node_modules" in path.parts:  # what builds the pages, after `make ui`; it is not in the package
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(pattern, line) and not (path == PACKAGE / PICKLES and "pickle" in BANNED[pattern]):
                found.append(f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}")
    assert found == [], BANNED[pattern]


def test_code_is_compiled_in_one_place() -> None:
    """``exec`` and ``eval`` run captured source, in the runner; nowhere else."""
    users = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("exec", "eval"):
                users.add(path.relative_to(PACKAGE).as_posix())
    assert users == {"runtime/load.py"}


class _Redirecting(BaseHTTPRequestHandler):
    """Sends every caller on to another host, and remembers whom it saw there."""

    server: Any

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def redirecting() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Redirecting)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("hook", [MLflowHook, GatewayHook])
def test_the_test_button_sends_no_password_along_a_redirect(
    hook: Any, redirecting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "x", "login": "ann", "password": "planted-secret", "host": "127.0.0.1"}
    monkeypatch.setenv("AIRFLOW_CONN_HERE", json.dumps({**connection, "port": redirecting.server_port}))
    good, message = hook("here").test_connection()
    assert not good
    assert "planted-secret" not in message
    assert [path for path, authorization in redirecting.seen if authorization] == [redirecting.seen[0][0]]
    assert all(path != "/elsewhere" for path, _ in redirecting.seen)


def test_a_password_in_an_address_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "ftp"):
        monkeypatch.setenv(
            "AIRFLOW_CONN_HERE", json.dumps({"conn_type": "x", "host": f"{name}://ann:planted-secret@127.0.0.1:9"})
        )
        for hook in (MLflowHook, GatewayHook):
            good, message = hook("here").test_connection()  # type: ignore[abstract,unused-ignore]
            assert not good
            assert "planted-secret" not in message


def test_a_trigger_is_stored_without_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Airflow keeps a trigger's arguments and shows them: names and numbers only, even while it is connected."""
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    for name, kind in {"GATE": "airflow_ml_gateway", "ML": "mlflow"}.items():
        value = {"conn_type": kind, "host": "http://127.0.0.1:9", "login": "ann", "password": f"planted-{name}"}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(value))
    trigger = CanaryTrigger(
        model="m", namespace="prod", epoch=1, claim=1, router_conn_id="gate", mlflow_conn_id="ml", lease_seconds=180.0
    )
    trigger._driver = rollout_driver("m", router_conn_id="gate", mlflow_conn_id="ml", lease_seconds=180.0)
    path, arguments = trigger.serialize()
    assert "planted-" not in json.dumps([path, arguments]), "and nothing that is no JSON"
    assert {type(value) for value in arguments.values()} <= {str, int, float, bool, type(None)}
