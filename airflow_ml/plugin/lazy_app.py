"""An ASGI application that is imported once an API server runs: Airflow's other processes never pay for it.

Should the import fail, Airflow still starts, every route is closed, and the pages say where the cause is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_LOG = logging.getLogger(__name__)
#: After a failed import, the next attempt: somebody may have mended the installation.
_RETRY_SECONDS = 60.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_BROKEN = "The ML pages could not be loaded. The log of the API server says why."
#: Stands for the bundle: Airflow shows the component that a script leaves on ``globalThis``.
_BROKEN_BUNDLE = (
    f'globalThis.AirflowPlugin = () => globalThis.React.createElement("p", {{role: "alert"}}, "{_BROKEN}");\n'
)


def _import_app() -> App:
    from airflow_ml.plugin.web.app import create_app

    return create_app()


def _read_ahead(app: Any) -> None:
    app.state.place.read_ahead()


class LazyApp:
    """The application behind the plugin's prefix.

    Args:
        build: Imports and returns it.
        read_ahead: Reads what the first request would have to wait for.
    """

    def __init__(self, build: Callable[[], App] = _import_app, read_ahead: Callable[[Any], None] = _read_ahead) -> None:
        self._build = build
        self._read_ahead = read_ahead
        self._app: App | None = None
        self._failed_at: float | None = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        app = self._app or await asyncio.to_thread(self._get)
        if app is None:
            await _say_broken(scope, send)
        else:
            await app(scope, receive, send)

    def prepare(self) -> threading.Thread:
        """Import it in a thread, and read ahead: the first person to come need not wait for that."""

        def work() -> None:
            app = self._get()
            if app is not None:
                try:
                    self._read_ahead(app)
                except Exception as error:  # the page that needs it says what is wrong
                    _LOG.info("The ML pages have read nothing ahead: %s: %s", type(error).__name__, error)

        thread = threading.Thread(target=work, name="airflow-ml-ahead", daemon=True)
        thread.start()
        return thread

    def _get(self) -> App | None:
        with self._lock:
            recently = self._failed_at is not None and time.monotonic() - self._failed_at < _RETRY_SECONDS
            if self._app is None and not recently:
                try:
                    self._app = self._build()
                except Exception:
                    _LOG.exception("The ML pages could not be loaded")
                    self._failed_at = time.monotonic()
            return self._app


async def _say_broken(scope: Scope, send: Send) -> None:
    script = str(scope.get("path", "")).endswith(".js")
    kind, body = ("text/javascript", _BROKEN_BUNDLE) if script else ("text/plain", _BROKEN)
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200 if script else 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body.encode()})
