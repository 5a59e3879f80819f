"""An HTTP proxy in front of a real server: away on request, or losing answers to requests that were carried out."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class FlakyProxy:
    """Forwards to ``upstream``.

    Attributes:
        away: While set, every connection is closed without an answer.
        lose_every: Of so many POST requests that were carried out, one gets no answer; 0 for none.
        refused, lost: How often that happened.
    """

    def __init__(self, upstream: str) -> None:
        owner, target = self, urlsplit(upstream)
        self.away, self.lose_every, self.refused, self.lost, self.posts = False, 0, 0, 0, 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if owner.away:
                    owner.refused += 1
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                owner.posts += self.command == "POST"
                if owner.lose_every and self.command == "POST" and owner.posts % owner.lose_every == 0:
                    owner.lost += 1
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
