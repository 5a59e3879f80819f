"""The pages' API as Airflow's API server mounts it, in this process: a database, an auth manager, users and a store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow_ml.testing.per_dag_auth import PerDagAuthManager

PREFIX = "/airflow-ml"
#: User and role: what they may see is decided by `PerDagAuthManager`.
USERS = {"admin": "admin", "ann": "op", "bob": "op", "eve": "viewer"}


@dataclass(frozen=True, slots=True)
class Pages:
    """A client, and who may ask."""

    client: Any
    #: The application itself, to walk its routes.
    app: Any
    tokens: Mapping[str, str]

    def get(self, path: str, user: str = "admin", **query: Any) -> Any:
        """Ask as a user."""
        return self.client.get(f"{PREFIX}/{path}", params=query, headers=self.headers(user))

    def headers(self, user: str) -> dict[str, str]:
        """Return a user's headers."""
        return {"Authorization": f"Bearer {self.tokens[user]}"}


@contextmanager
def serve_pages(store_uri: str, dags: list[str], folder: Path, *, base_path: str = "") -> Iterator[Pages]:
    """Yield the mounted application with a database that knows some DAGs.

    Args:
        store_uri: The artifact store.
        dags: DAG ids that Airflow knows.
        folder: For the auth manager's file.
        base_path: The path of ``[api] base_url``.
    """
    settings = {
        "AIRFLOW__ML__ARTIFACT_STORE": store_uri,
        "AIRFLOW__CORE__AUTH_MANAGER": f"{PerDagAuthManager.__module__}.{PerDagAuthManager.__name__}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__API__BASE_URL": f"http://testserver{base_path}",
    }
    with patch.dict(os.environ, settings):
        from airflow.api_fastapi import app as airflow_app
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from fastapi import FastAPI
        from starlette.testclient import TestClient

        from airflow_ml.plugin.web.app import create_app

        _make_database(dags)
        airflow_app.purge_cached_app()
        manager = airflow_app.init_auth_manager()
        users = {name: SimpleAuthManagerUser(username=name, role=role) for name, role in USERS.items()}
        nobody = SimpleAuthManagerUser(username="nobody", role=None)
        tokens = {name: manager.generate_jwt(user) for name, user in {**users, "nobody": nobody}.items()}
        app, parent = create_app(), FastAPI(openapi_url=None)
        parent.mount(PREFIX, app)
        try:
            with TestClient(parent, root_path=base_path, raise_server_exceptions=False) as client:
                yield Pages(client, app, tokens)
        finally:
            airflow_app.purge_cached_app()


def _make_database(dags: list[str]) -> None:
    """Make Airflow's tables and enter DAGs, without the migrations' history: that would take 15 s."""
    from airflow import models
    from airflow.models.base import Base
    from airflow.models.dag import DagModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    models.import_all_models()  # type: ignore[no-untyped-call]
    with create_session() as session:
        Base.metadata.create_all(session.get_bind())
    with create_session() as session:
        for model in (HITLDetail, TaskInstance, DagRun, DagVersion, DagModel):  # of a test before
            session.execute(delete(model))
        session.merge(DagBundleModel(name="tests"))
        session.flush()
        for dag in dags:
            session.add(DagModel(dag_id=dag, bundle_name="tests", is_stale=False))  # type: ignore[no-untyped-call]
