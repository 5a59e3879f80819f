"""What stands before moto's application: the count of requests, scripted refusals, and the key of the double."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from airflow_ml.testing.batch.faults import Faults

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/(\w+)/")


class Front:
    """A WSGI application around moto's. Batch, whose jobs are commands, answers only to the double's own access key."""

    def __init__(self, application: Application, faults: Faults, access_key: str) -> None:
        self._application = application
        self._faults = faults
        self._access_key = access_key
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def count(self, operation: str = "") -> int:
        """Return how many requests Batch had, of one operation (``submitjob``) or all."""
        with self._lock:
            return self._counts[operation.lower()] if operation else self._counts.total()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        operation = environ.get("PATH_INFO", "").removeprefix("/v1/").lower()
        jobs = "job" in operation and environ.get("PATH_INFO", "").startswith("/v1/")
        if jobs and (found is None or found[1] != self._access_key):
            return _refuse(start_response, "403 Forbidden", "AccessDeniedException", "Use the double's own access key.")
        if found is not None and found[2] == "batch":
            with self._lock:
                self._counts[operation] += 1
            fault = self._faults.for_request(operation)
            if fault is not None:
                if fault.done:
                    list(self._application(environ, lambda *_: lambda data: None))
                return _refuse(start_response, f"{fault.status} Scripted", fault.code, fault.message)
        return self._application(environ, start_response)


def _refuse(start_response: Any, status: str, code: str, message: str) -> list[bytes]:
    body = json.dumps({"message": message, "__type": code}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("x-amzn-ErrorType", code)]
    start_response(status, headers)
    return [body]
