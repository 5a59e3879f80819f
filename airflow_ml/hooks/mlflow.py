"""The Airflow connection type ``mlflow``."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow.sdk import BaseHook

from airflow_ml.hooks.connection import base_url, get_connection

if TYPE_CHECKING:
    from airflow_ml.adapters.mlflow import MLflowRegistry


_LARGEST_ANSWER_BYTES = 1024 * 1024


class MLflowHook(BaseHook):
    """From an ``mlflow`` connection to a registry.

    Args:
        mlflow_conn_id: Host is the tracking server (URL, or host with port); login and password are sent as basic
            authentication, a password without a login as a bearer token.
    """

    conn_name_attr = "mlflow_conn_id"
    default_conn_name = "mlflow_default"
    conn_type = "mlflow"
    hook_name = "MLflow"

    def __init__(self, mlflow_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlflow_conn_id = mlflow_conn_id

    def get_conn(self) -> MLflowRegistry:
        """Return the registry of this connection."""
        return self.registry()

    def registry(self) -> MLflowRegistry:
        """Return the registry of this connection.

        Raises:
            ConnectionMissing: it is not defined.
        """
        from airflow_ml.adapters.mlflow import MLflowRegistry

        connection = get_connection(self.mlflow_conn_id, conn_type=self.conn_type)
        return MLflowRegistry(
            base_url(connection, default_port=5000), username=connection.login, password=connection.password
        )

    def experiment(self) -> str | None:
        """Return the connection's experiment, None where every DAG has its own."""
        connection = get_connection(self.mlflow_conn_id, conn_type=self.conn_type)
        return connection.extra_dejson.get("experiment") or None

    def aliases(self, model: str, *, timeout_seconds: float) -> dict[str, str]:
        """Return the versions of a registered model by alias; for pages, without importing mlflow.

        Args:
            model: Its name.
            timeout_seconds: Of each step of the request.

        Raises:
            ConnectionMissing: the connection is not defined.
            OSError: the server does not answer, or has no such model.
            ValueError: the address is not an http address, or the answer is not MLflow's.
        """
        from airflow_ml.adapters.mlflow_session import split_credentials

        connection = get_connection(self.mlflow_conn_id, conn_type=self.conn_type)
        url, user, secret = split_credentials(base_url(connection, default_port=5000))
        if not url.startswith(("http://", "https://")):
            raise ValueError("The host must be an http or https address")
        request = urllib.request.Request(  # noqa: S310 - http and https only, checked above
            f"{url}/api/2.0/mlflow/registered-models/get?{urlencode({'name': model})}",
            headers=_authorization(connection.login or user, connection.password or secret),
        )
        with _without_redirects().open(request, timeout=timeout_seconds) as answer:
            found = json.loads(answer.read(_LARGEST_ANSWER_BYTES))
        rows = found["registered_model"].get("aliases", []) if isinstance(found, dict) else []
        return {str(row["alias"]): str(row["version"]) for row in rows}

    def test_connection(self) -> tuple[bool, str]:
        """Ask the server for its experiments; for the Test button, without importing mlflow."""
        from airflow_ml.adapters.mlflow_session import split_credentials

        connection = get_connection(self.mlflow_conn_id, conn_type=self.conn_type)
        url, user, secret = split_credentials(base_url(connection, default_port=5000))
        if not url.startswith(("http://", "https://")):
            return False, f"The host must be an http or https address, not {url.partition('://')[0]!r}."
        request = urllib.request.Request(  # noqa: S310 - http and https only, checked above
            f"{url}/api/2.0/mlflow/experiments/search",
            data=json.dumps({"max_results": 1}).encode(),
            headers={
                "Content-Type": "application/json",
                **_authorization(connection.login or user, connection.password or secret),
            },
        )
        try:
            with _without_redirects().open(request, timeout=10) as answer:
                json.load(answer)
        except urllib.error.HTTPError as error:
            return False, f"The server answered {error.code} {error.reason}. Check user, password and address."
        except (OSError, ValueError) as error:
            return False, f"No MLflow server answers at that address: {error}"
        return True, "MLflow answers"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Turns a redirect into the error that it is here: the header with the password must not go to another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _without_redirects() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects)


def _authorization(login: str | None, password: str | None) -> dict[str, str]:
    if login:
        return {"Authorization": "Basic " + b64encode(f"{login}:{password or ''}".encode()).decode()}
    return {"Authorization": f"Bearer {password}"} if password else {}
