"""The plugin that Airflow loads in every process: it imports nothing but Airflow's own base class."""

from __future__ import annotations

from airflow.sdk.plugins_manager import AirflowPlugin


class AirflowMLPlugin(AirflowPlugin):
    """Registers airflow_ml with Airflow's plugin manager."""

    name = "airflow_ml"
