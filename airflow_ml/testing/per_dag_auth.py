"""An auth manager for tests in which a user sees the DAGs that begin with their own name, and no others."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser


class PerDagAuthManager(SimpleAuthManager):
    """Airflow's simple auth manager with permissions for single DAGs, which it does not have.

    A user may see and edit the DAGs that begin with ``<user>_``, each as far as their role goes; ``admin`` all of them.
    """

    def is_authorized_dag(
        self, *, method: Any, user: SimpleAuthManagerUser, access_entity: Any = None, details: Any = None
    ) -> bool:
        """Whether a user may act on a DAG."""
        name = details.id if details is not None else None
        own = user.username == "admin" or (name is not None and name.startswith(f"{user.username}_"))
        return own and super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
