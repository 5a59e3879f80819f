"""Requests to an MLflow server within a bounded time: one client, own retries, clear errors."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from airflow_ml.errors import AirflowMLError, ConfigurationError, MissingDependency, RegistryError, RegistryUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

#: MLflow's own client repeats every request, POST too, 7 times at 120 s each: duplicates, and a quarter of an hour in
#: one call. So it repeats none, and each step here is written to be repeated as a whole.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Its own handler writes to stderr, all of which Airflow shows as errors; without it each line has its level.
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5
#: MLflow reads credentials from the environment at each request; one caller at a time may have set them.
_CREDENTIALS = threading.RLock()


class Session:
    """A client of one tracking server and registry.

    Args:
        tracking_uri: For example ``http://mlflow:5000``; user and password in it are used and never shown.
        registry_uri: Where the registry is another server.
        username: For basic authentication.
        password: Its password; without a username, a bearer token.
        deadline_seconds: Upper bound of one operation with all its repetitions, uploads of files aside.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        registry_uri: str | None = None,
        username: str | None = None,
        password: str | None = None,
        deadline_seconds: float = 60.0,
    ) -> None:
        if not tracking_uri:
            raise ConfigurationError("No MLflow tracking URI", repr(tracking_uri), "Give one such as http://host:5000.")
        self.uri, user, secret = split_credentials(tracking_uri)
        self._registry_uri = split_credentials(registry_uri)[0] if registry_uri else None
        self._username, self._password = username or user, password or secret
        self._deadline_seconds = deadline_seconds
        self._client: MlflowClient | None = None

    @contextlib.contextmanager
    def operation(self) -> Iterator[Operation]:
        """Open one operation: its deadline runs, and the credentials are in place."""
        with self._credentials():
            if self._client is None:
                self._client = self._connect()
            yield Operation(self._client, self.uri, time.monotonic() + self._deadline_seconds)

    def _connect(self) -> MlflowClient:
        os.environ.update(_CLIENT_SETTINGS)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingDependency(
                "The mlflow package is not installed", str(error), "Install airflow-ml[mlflow]."
            ) from error
        return MlflowClient(tracking_uri=self.uri, registry_uri=self._registry_uri)

    @contextlib.contextmanager
    def _credentials(self) -> Iterator[None]:
        if not self._password:
            yield
            return
        if self._username:
            wanted = {"MLFLOW_TRACKING_USERNAME": self._username, "MLFLOW_TRACKING_PASSWORD": self._password}
        else:
            wanted = {"MLFLOW_TRACKING_TOKEN": self._password}
        with _CREDENTIALS:
            before = {name: os.environ.get(name) for name in wanted}
            os.environ.update(wanted)
            try:
                yield
            finally:
                for name, value in before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value


class Operation:
    """One operation in progress."""

    def __init__(self, client: MlflowClient, uri: str, deadline: float) -> None:
        self.client = client
        self._uri = uri
        self._deadline = deadline

    def step(self, what: str, act: Callable[[], T], *, absent_ok: bool = False, limited: bool = True) -> T | None:
        """Run a step that may be repeated as a whole; repeat it while the server does not answer.

        Args:
            what: The step in words, for messages.
            act: Makes requests; must find and adopt what an earlier try of itself left behind.
            absent_ok: Return None where the server says that the thing does not exist.
            limited: Whether the operation's deadline holds; False for uploads, which grow with the files.

        Raises:
            RegistryUnavailable: no answer within the deadline or after four tries.
            RegistryError: the server refuses.
        """
        from mlflow.exceptions import MlflowException

        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            if limited and time.monotonic() > self._deadline:
                raise self._unavailable(what, "no time left")
            try:
                return act()
            except AirflowMLError:  # an inner step gave up; some of our errors are OSErrors too
                raise
            except MlflowException as error:
                code = str(error.error_code)
                if code == "RESOURCE_DOES_NOT_EXIST" and absent_ok:
                    return None
                if not _transient(error, code):
                    raise self._refused(what, code, str(error)) from error
                last = _first_line(error)
            except OSError as error:  # requests' exceptions are OSErrors
                last = _first_line(error)
            out_of_time = limited and time.monotonic() + pause > self._deadline
            if attempt == _ATTEMPTS or out_of_time:
                raise self._unavailable(what, last)
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            pause *= 2
        raise self._unavailable(what, "no tries left")

    def need(self, what: str, act: Callable[[], T], *, limited: bool = True) -> T:
        """Run a step as ``step`` does, where absence is an error too."""
        result = self.step(what, act, limited=limited)
        if result is None:
            raise self._refused(what, "no answer", "the server returned nothing")
        return result

    def _unavailable(self, what: str, last: str) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"MLflow does not answer ({what})", f"{self._uri}: {last}", "Check that the server runs; retry the task."
        )

    def _refused(self, what: str, code: str, text: str) -> RegistryError:
        remedy = {
            "UNAUTHENTICATED": "Check login and password of the mlflow connection.",
            "PERMISSION_DENIED": "Give this user the permission in MLflow.",
            "ENDPOINT_NOT_FOUND": "Check that the address is an MLflow server, version 3.17 or later.",
        }.get(code, "Correct the value that the server names.")
        return RegistryError(f"MLflow refused ({what})", f"{self._uri}: {' '.join(text.split())[:400]}", remedy)


def already_exists(error: Any) -> bool:
    """Tell whether an MlflowException says that somebody made the thing before."""
    return str(getattr(error, "error_code", "")) == "RESOURCE_ALREADY_EXISTS"


def _transient(error: Any, code: str) -> bool:
    # Two clients wrote the same thing at once and the server's database took the other's: asked again, it is there.
    if any(word in str(error) for word in ("IntegrityError", "UniqueViolation")):
        return True
    return code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED") or (
        error.get_http_status_code() in (408, 429, 500, 502, 503, 504)
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__)[:300]


def split_credentials(uri: str) -> tuple[str, str | None, str | None]:
    """Return a URI without its user and password, and the two; a database URI keeps them, as its driver needs them."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri.rstrip("/") if parts.scheme in ("http", "https") else uri, None, None
    host = parts.netloc.rpartition("@")[2]
    clean = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), parts.query, parts.fragment))
    return clean, unquote(parts.username or "") or None, unquote(parts.password or "") or None
