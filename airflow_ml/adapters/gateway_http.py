"""HTTP to the local gateway with the standard library.

``http.client`` follows no redirects and reads no proxy settings, so a request goes to the connection's host or nowhere.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError

ANSWER_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What the gateway answered, whatever its status."""

    status: int
    body: Mapping[str, Any]
    #: How far the server's clock is ahead of this machine's, to within a second or two; 0 where it does not say.
    clock_ahead_seconds: float = 0.0

    @property
    def error(self) -> str:
        """What went wrong, in the gateway's words."""
        return str(self.body.get("error", f"HTTP {self.status}"))[:1000]

    @property
    def remedy(self) -> str:
        """What the gateway says to do is a part of ``error`` already; of its own failures it gives a number only."""
        if self.body.get("remedy"):
            return ""
        number = f" for {self.body['id']}" if "id" in self.body else ""
        return f"Look into the gateway's log{number}."


class GatewayClient:
    """One request, one connection: looks are seconds apart, and a kept connection would hide a restart."""

    def __init__(self, base_url: str, token: str | None, timeout_seconds: float) -> None:
        parts = urlsplit(base_url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or port == -1:
            raise ConfigurationError(
                "Not the address of a gateway",
                f"{parts.scheme}://{parts.hostname or ''}",
                "Use http://host:port or https://host:port, with the token as the connection's password.",
            )
        self.address = f"{parts.scheme}://{parts.netloc}"
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, port
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self._timeout_seconds = timeout_seconds

    def call(
        self, method: str, path: str, body: Mapping[str, JSON] | None = None, *, timeout_seconds: float | None = None
    ) -> GatewayAnswer:
        """Send a request and return the answer, whatever its status.

        Raises:
            OSError, http.client.HTTPException, ValueError: there was no answer, or one that is not a JSON object.
        """
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=ssl.create_default_context())
            if self._secure
            else http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        )
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.connect()
            # Looked at after the name was resolved and before a byte is sent: a name cannot point elsewhere meanwhile.
            peer = ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0])
            if peer.is_link_local:
                raise OSError(f"{self._host} is the link-local address {peer}, which is refused")
            data = None if body is None else json.dumps(body, allow_nan=False).encode()
            connection.request(method, self._prefix + path, data, headers)
            response = connection.getresponse()
            text = response.read(ANSWER_LIMIT_BYTES)
            if not 200 <= response.status < 300 and "json" not in response.headers.get("Content-Type", ""):
                return GatewayAnswer(response.status, {"error": f"HTTP {response.status} {response.reason}"})
            value = json.loads(text)
            if not isinstance(value, dict):
                raise ValueError("the answer is not a JSON object")
            return GatewayAnswer(response.status, value, _clock_ahead_seconds(response.headers.get("Date", "")))
        finally:
            connection.close()


def _clock_ahead_seconds(date: str) -> float:
    try:
        return (parsedate_to_datetime(date).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return 0.0
