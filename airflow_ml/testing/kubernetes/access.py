"""Who may do what: everything, except what a test or a user takes away."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Mapping

from airflow_ml.testing.kubernetes.resources import ApiError, Object


class Access:
    """Permissions of the one user; safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._denied: list[tuple[str, str, str]] = []

    def deny(self, verb: str, resource: str, *, namespace: str = "*") -> None:
        """Take a permission away; all three are shell patterns, ``pods/log`` is a resource of its own."""
        with self._lock:
            self._denied.append((verb, resource, namespace))

    def allow_all(self) -> None:
        """Give all permissions back."""
        with self._lock:
            self._denied.clear()

    def allowed(self, verb: str, resource: str, namespace: str) -> bool:
        """Tell whether the user may do this."""
        with self._lock:
            return not any(
                all(fnmatch.fnmatchcase(text, one) for text, one in zip((verb, resource, namespace), rule, strict=True))
                for rule in self._denied
            )

    def require(self, verb: str, resource: str, group: str, namespace: str) -> None:
        """Refuse what is not allowed.

        Raises:
            ApiError: 403 in the words of the API server.
        """
        if not self.allowed(verb, resource, namespace):
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            what = f'User "double" cannot {verb} resource "{resource}" in API group "{group}"{where}'
            text = f"{resource} is forbidden: {what}"
            raise ApiError(403, "Forbidden", text)

    def review(self, body: Mapping[str, Object]) -> Object:
        """Answer a SelfSubjectAccessReview."""
        asked = body["spec"].get("resourceAttributes") or {}
        resource = asked.get("resource", "*") + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        allowed = self.allowed(asked.get("verb", "*"), resource, asked.get("namespace", ""))
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": body["spec"],
            "status": {"allowed": allowed, "reason": "" if allowed else "taken away in the double"},
        }
