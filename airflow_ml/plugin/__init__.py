"""The plugin that Airflow loads in every process: it imports nothing but Airflow's own base class."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

from airflow_ml.plugin.lazy_app import LazyApp
from airflow_ml.plugin.preload import Preload

#: Where the API and the bundle lie, below the path of ``[api] base_url``.
URL_PREFIX = "/airflow-ml"
#: The name of the pages: the label in the navigation and on the tabs, and the global that the bundle leaves.
PAGES = "ML"


class AirflowMLPlugin(AirflowPlugin):
    """Registers airflow_ml with Airflow's plugin manager.

    What asks for configuration or files is a cached property of the instance that the manager makes: a worker that
    loads plugins pays for none of it.
    """

    name = "airflow_ml"

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]  # Airflow declares lists
        """The API and the static files."""
        return [{"name": "airflow_ml", "app": self._pages, "url_prefix": URL_PREFIX}]

    @cached_property
    def fastapi_root_middlewares(self) -> list[Any]:  # type: ignore[override]
        """What happens before a page asks for anything."""
        return [{"name": "airflow_ml", "middleware": Preload, "kwargs": {"pages": self._pages}}]

    @cached_property
    def _pages(self) -> LazyApp:
        return LazyApp()

    @cached_property
    def react_apps(self) -> list[Any]:  # type: ignore[override]
        """One bundle in three places: what Airflow gives it (a run, a task instance, nothing) tells them apart."""
        from airflow_ml.plugin.bundle import bundle_url, icon_url

        where = {"bundle_url": bundle_url(), "icon": icon_url("light"), "icon_dark_mode": icon_url("dark")}
        return [
            {"name": PAGES, "destination": destination, "url_route": route, **where, **more}
            for destination, route, more in (
                ("nav", "ml", {"nav_top_level": True}),
                ("dag_run", "ml-run", {}),
                ("task_instance", "ml-task", {}),
            )
        ]
