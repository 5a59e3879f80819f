"""Airflow's own web pages with canned answers behind them: the plugin's pages in their real host, without a server.

    python tests/integration/ui_host.py [--port 8090] [--fixtures FILE]

prints its address and serves until it is ended. The pages come from the installed Airflow (React, Chakra, the theme and
the router that a plugin's bundle finds are the real ones), the bundle from airflow_ml/plugin/www/dist, and what the
plugin's API answers from a file of fixtures: ``{"<path below airflow-ml/, with or without a query>": answer}``.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "airflow_ml" / "plugin" / "www" / "dist"
FIXTURES = ROOT / "airflow_ml" / "plugin" / "www" / "dev" / "fixtures.json"
_AIRFLOW = find_spec("airflow")
assert _AIRFLOW is not None
assert _AIRFLOW.submodule_search_locations
AIRFLOW_UI = Path(_AIRFLOW.submodule_search_locations[0]) / "ui" / "dist"

#: What Airflow's pages ask before they show a plugin's page. All else is answered with an empty collection.
AIRFLOW_ANSWERS: dict[str, Any] = {
    "ui/config": {
        "fallback_page_limit": 100,
        "auto_refresh_interval": 0,
        "hide_paused_dags_by_default": False,
        "instance_name": "Airflow",
        "enable_swagger_ui": False,
        "require_confirmation_dag_change": False,
        "default_wrap": False,
        "test_connection": "Disabled",
        "dashboard_alert": [],
        "show_external_log_redirect": False,
        "external_log_name": None,
        "theme": None,
        "multi_team": False,
        "page_size": 50,
        "navbar_color": "#fff",
    },
    "ui/auth/menus": {"authorized_menu_items": ["Dags", "Assets", "Plugins"], "extra_menu_items": []},
    "ui/auth/me": {"id": "ada", "username": "ada"},
    "api/v2/version": {"version": "3.3.2", "git_version": None},
    "api/v2/monitor/health": {
        name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")
    },
    "api/v2/plugins": {
        "total_entries": 1,
        "plugins": [
            {
                "name": "airflow_ml",
                "macros": [],
                "flask_blueprints": [],
                "fastapi_apps": [],
                "fastapi_root_middlewares": [],
                "external_views": [],
                "react_apps": [
                    {
                        "name": "ML",
                        "url_route": "ml",
                        "bundle_url": "./airflow-ml/static/airflow_ml.js",
                        "destination": "nav",
                        "category": "browse",
                    }
                ],
                "appbuilder_views": [],
                "appbuilder_menu_items": [],
                "global_operator_extra_links": [],
                "operator_extra_links": [],
                "source": "airflow-ml",
                "listeners": [],
                "timetables": [],
            }
        ],
    },
}


class Host(BaseHTTPRequestHandler):
    """Answers GET from files and fixtures, and every POST with what the fixtures say about it."""

    protocol_version = "HTTP/1.1"
    fixtures: Path = FIXTURES

    def do_GET(self) -> None:
        """Serve a file, a canned answer, or Airflow's page."""
        url = urlsplit(self.path)
        path = unquote(url.path).lstrip("/")
        if path.startswith("static/"):
            self._send_file(AIRFLOW_UI, path.removeprefix("static/"))
        elif path.startswith("airflow-ml/static/"):
            self._send_file(BUNDLE, path.removeprefix("airflow-ml/static/"))
        elif path.startswith("airflow-ml/"):
            self._send_fixture(url.path.removeprefix("/airflow-ml/"), url.query)
        elif path.startswith(("ui/", "api/")):
            self._send(200, json.dumps(AIRFLOW_ANSWERS.get(path, {"total_entries": 0})).encode(), "application/json")
        else:
            page = (AIRFLOW_UI / "index.html").read_text().replace("{{ backend_server_base_url }}", "/")
            self._send(200, page.encode(), "text/html")

    def do_POST(self) -> None:
        """Answer an action."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self._send_fixture(urlsplit(self.path).path.removeprefix("/airflow-ml/"), "")

    def _send_fixture(self, path: str, query: str) -> None:
        answers = json.loads(self.fixtures.read_text())
        answer = answers.get(f"{path}?{query}", answers.get(path))
        if answer is None:
            self._send(404, json.dumps({"detail": "Not found", "remedy": ""}).encode(), "application/json")
        else:
            self._send(200, json.dumps(answer).encode(), "application/json")

    def _send_file(self, folder: Path, name: str) -> None:
        file = (folder / name).resolve()
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            self._send(404, b"", "text/plain")
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self._send(200, file.read_bytes(), kind)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if "javascript" in kind:  # what an API server sends with its files: a second load compiles nothing again
            self.send_header("cache-control", "max-age=3600")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a page asks for a hundred files."""


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fixtures", type=Path, default=FIXTURES)
    options = parser.parse_args()
    Host.fixtures = options.fixtures
    with ThreadingHTTPServer(("127.0.0.1", options.port), Host) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
