"""A server that answers Prometheus' instant queries over series in memory, for tests of what reads them.

It speaks the HTTP API as Prometheus does (status codes, error bodies, numbers as text) and so much of PromQL: a
selector with equal matchers, ``max(...)`` and ``sum by (labels) (...)``. Anything else is refused, as Prometheus
refuses what it cannot parse.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.parse
from collections import defaultdict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_SELECTOR = re.compile(r'\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s*\Z')
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|\Z)')
_SUM = re.compile(r"\s*sum by \(([^)]*)\)\s*\((.*)\)\s*\Z", re.DOTALL)
_MAX = re.compile(r"\s*max\s*\((.*)\)\s*\Z", re.DOTALL)
Labels = tuple[tuple[str, str], ...]


class LocalPrometheus:
    """Starts and stops the server; ``set`` is what a scrape would have brought.

    Args:
        token: A bearer token that queries need; empty: none.
    """

    def __init__(self, token: str = "") -> None:
        self.token = token
        self._series: dict[str, dict[Labels, float]] = defaultdict(dict)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                form = urllib.parse.parse_qs(self.rfile.read(length).decode())
                status, body = outer._answer(self.path, form.get("query", [""])[0], self.headers.get("Authorization"))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def set(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Give a series its newest sample."""
        self._series[name][tuple(sorted(labels.items()))] = value

    def _answer(self, path: str, query: str, authorization: str | None) -> tuple[int, dict[str, Any]]:
        if self.token and authorization != f"Bearer {self.token}":
            return 401, {"status": "error", "errorType": "unauthorized", "error": "no or a wrong token"}
        if path != "/api/v1/query":
            return 404, {"status": "error", "errorType": "not_found", "error": path}
        try:
            vector = self._evaluate(query)
        except ValueError as error:
            return 400, {"status": "error", "errorType": "bad_data", "error": str(error)}
        now = time.time()
        result = [{"metric": dict(labels), "value": [now, _text(value)]} for labels, value in vector.items()]
        return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}

    def _evaluate(self, query: str) -> dict[Labels, float]:
        if found := _SUM.match(query):
            kept = [name.strip() for name in found[1].split(",") if name.strip()]
            summed: dict[Labels, float] = defaultdict(float)
            for labels, value in self._evaluate(found[2]).items():
                summed[tuple((name, text) for name, text in labels if name in kept)] += value
            return dict(summed)
        if found := _MAX.match(query):
            inner = self._evaluate(found[1])
            return {(): max(inner.values())} if inner else {}
        selector = _SELECTOR.match(query)
        if selector is None:
            raise ValueError(f'parse error: unexpected "{query[:40]}"')
        wanted: dict[str, str] = {}
        position, text = 0, selector[2] or ""
        while position < len(text.rstrip()):
            matcher = _MATCHER.match(text, position)
            if matcher is None:
                raise ValueError(f'parse error: unexpected "{text[position : position + 40]}" in label matching')
            wanted[matcher[1]] = re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], matcher[2])
            position = matcher.end()
        return {
            (("__name__", selector[1]), *labels): value
            for labels, value in self._series.get(selector[1], {}).items()
            if wanted.items() <= dict(labels).items()
        }


def _text(value: float) -> str:
    if value != value:  # NaN
        return "NaN"
    return {float("inf"): "+Inf", float("-inf"): "-Inf"}.get(value, repr(value))
