"""Requests to a Kubernetes API server as plain JSON, patient with a server that is busy, up to a deadline.

The client library's models cost 60 MB and most of the time of a list of many pods; here only its connection is used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from airflow_ml.adapters.patience import DEADLINE_SECONDS, Patience
from airflow_ml.core.record import JSON
from airflow_ml.errors import BackendUnavailable

#: How long each try of a request may take.
REQUEST_SECONDS = 20.0
#: Objects of one page of a list.
PAGE = 500
_BUSY = frozenset({429, 500, 502, 503, 504})
#: Of a list whose pages are older than what the server still knows.
_MOST_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: Any
    headers: Any

    @property
    def at(self) -> datetime:
        """The server's clock, by which the times of its objects are; ours where it does not say."""
        try:
            return parsedate_to_datetime(self.headers["Date"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            return datetime.now(UTC)

    @property
    def message(self) -> str:
        """The server's own words where it refused."""
        if isinstance(self.body, Mapping):
            return str(self.body.get("message") or self.body.get("reason") or self.body)[:2000]
        return str(self.body)[:2000]


class KubernetesApi:
    """A connection to one cluster.

    Args:
        client: A ``kubernetes.client.ApiClient``; or a function that makes one, called at the first request.
        deadline_seconds: After which a request that meets a busy or unreachable server is given up.
        sleep: Waits so many seconds; replaced in tests.
    """

    def __init__(
        self,
        client: Any,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._deadline_seconds = deadline_seconds
        self._sleep = sleep
        #: Requests made so far, repetitions included.
        self.requests = 0

    def get(self, path: str, **query: str | int | None) -> Answer:
        """Read an object or a list."""
        return self.call("GET", path, query=query)

    def pages(self, path: str, *, limit: int = PAGE, **query: str | int | None) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a list, page by page; from the start where a page's token is too old.

        Raises:
            BackendUnavailable: the server refused.
        """
        token: str | None = None
        restarts = 0
        while True:
            answer = self.get(path, limit=limit, **{**query, "continue": token})
            if answer.status == 410 and token is not None and restarts < _MOST_RESTARTS:
                token, restarts = None, restarts + 1  # what comes twice is counted once by whoever reads it
                continue
            if answer.status != 200:
                raise refused(f"list {path}", answer)
            yield from answer.body.get("items") or ()
            token = (answer.body.get("metadata") or {}).get("continue")
            if not token:
                return

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: JSON | Mapping[str, JSON] = None,
        deadline_seconds: float | None = None,
    ) -> Answer:
        """Make a request and return the answer, whatever its status, unless the server is busy or away for too long.

        Args:
            method, path, query, body: Of the request.
            deadline_seconds: In the place of the connection's own; 0 tries once.

        Raises:
            BackendUnavailable: no answer, or only that it is busy, until the deadline.
        """
        patience = Patience(self._deadline_seconds if deadline_seconds is None else deadline_seconds, self._sleep)
        while True:
            answer, problem = self._try(method, path, query or {}, body)
            if answer is not None and answer.status not in _BUSY:
                return answer
            asked = _seconds(answer.headers.get("Retry-After")) if answer is not None and answer.headers else None
            if patience.wait(asked):
                continue
            if answer is not None:
                raise refused(f"{method} {path}", answer)
            raise BackendUnavailable(
                "The Kubernetes API cannot be reached", problem, "Check the connection; running jobs go on."
            )

    def _try(
        self, method: str, path: str, query: Mapping[str, str | int | None], body: Any
    ) -> tuple[Answer | None, str]:
        """Make a request once. The client's own way breaks on an untrusted certificate, and on bytes in a log."""
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        self.requests += 1
        client = self._connected()
        headers = {**client.default_headers, "Accept": "application/json, */*", "Content-Type": "application/json"}
        client.update_params_for_auth(headers, [], ["BearerToken"])
        asked = urlencode([(name, value) for name, value in query.items() if value is not None])
        try:
            response = client.rest_client.pool_manager.request(
                method,
                f"{client.configuration.host}{path}{'?' if asked else ''}{asked}",
                headers=headers,
                body=json.dumps(body) if body is not None else None,
                timeout=Timeout(total=REQUEST_SECONDS),
                retries=False,  # its own wait for as long as a server asks, and are not counted
            )
        except (HTTPError, OSError) as error:
            return None, f"{type(error).__name__}: {error}"
        return Answer(response.status, _read(response), response.headers), ""

    def _connected(self) -> Any:
        if callable(self._client):
            self._client = self._client()
        return self._client


def refused(what: str, answer: Answer) -> BackendUnavailable:
    """Return the error of an answer that is no success, in the server's own words."""
    return BackendUnavailable(
        f"Kubernetes refused to {what}",
        f"HTTP {answer.status}: {answer.message}",
        "Check rights and quota of the connection's account: airflow-ml doctor shows what is missing.",
    )


def _read(response: Any) -> Any:
    """Return plain data, or text where it is none: a log is text, also where its only line is JSON."""
    text = response.data.decode("utf-8", "replace")
    if "json" not in response.headers.get("Content-Type", ""):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _seconds(text: Any) -> float | None:
    try:
        return max(0.0, float(text))
    except (TypeError, ValueError):
        return None
