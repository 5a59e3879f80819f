"""The Airflow connection type ``airflow_ml_gateway``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_ml.hooks.connection import base_url, get_connection

if TYPE_CHECKING:
    from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter


class GatewayHook(BaseHook):
    """From an ``airflow_ml_gateway`` connection to a router and a metric source.

    Args:
        gateway_conn_id: Host (URL, or host with port) of the gateway; the password is its control token.
    """

    conn_name_attr = "gateway_conn_id"
    default_conn_name = "gateway_default"
    conn_type = "airflow_ml_gateway"
    hook_name = "Model gateway"

    def __init__(self, gateway_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gateway_conn_id = gateway_conn_id

    def get_conn(self) -> GatewayRouter:
        """Return the router of this connection."""
        return self.router()

    def router(self) -> GatewayRouter:
        """Return what divides the gateway's traffic.

        Raises:
            ConnectionMissing: the connection is not defined.
        """
        from airflow_ml.adapters.gateway import GatewayRouter

        url, token = self._address()
        return GatewayRouter(url, token=token)

    def metrics(self) -> GatewayMetrics:
        """Return the gateway's log as a metric source.

        Raises:
            ConnectionMissing: the connection is not defined.
        """
        from airflow_ml.adapters.gateway import GatewayMetrics

        url, token = self._address()
        return GatewayMetrics(url, token=token)

    def test_connection(self) -> tuple[bool, str]:
        """Ask the gateway whether it is well; for the Test button."""
        try:
            self.router().ping()
        except Exception as error:  # the button shows whatever is wrong
            return False, str(error)
        return True, "The gateway answers"

    def _address(self) -> tuple[str, str | None]:
        connection = get_connection(self.gateway_conn_id, conn_type=self.conn_type)
        return base_url(connection, default_port=8000), connection.password or None
