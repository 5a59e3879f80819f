"""Reading one Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ml.errors import ConnectionMissing

if TYPE_CHECKING:
    from airflow.sdk import Connection


def get_connection(conn_id: str, *, conn_type: str) -> Connection:
    """Return a connection.

    Raises:
        ConnectionMissing: it is not defined.
    """
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConnectionMissing(
            "The Airflow connection is not defined",
            repr(conn_id),
            f"Create it in Admin > Connections with the type {conn_type!r}, "
            f"or set the environment variable AIRFLOW_CONN_{conn_id.upper()}.",
        ) from error


def base_url(connection: Connection, *, default_port: int) -> str:
    """Return ``scheme://host:port`` of a connection whose host may be a whole URL, with a path behind the port.

    A port in the URL wins over the connection's, that over ``default_port``; https without one stays without.
    """
    host = (connection.host or "127.0.0.1").rstrip("/")
    if "://" not in host:
        host = f"{connection.schema or 'http'}://{host}"
    scheme, _, rest = host.partition("://")
    if ":" in rest.partition("/")[0].rpartition("@")[2].rpartition("]")[2]:  # a colon in user:password is not a port
        return host
    port = connection.port or (None if scheme == "https" else default_port)
    address, slash, path = rest.partition("/")
    return f"{scheme}://{address}:{port}{slash}{path}" if port else host
