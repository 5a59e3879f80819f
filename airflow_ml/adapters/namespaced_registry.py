"""A model registry as a namespace sees it: its own aliases first, and never one of production's moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from airflow_ml.core.aliases import PRODUCTION, alias_in
from airflow_ml.core.ports import ModelRegistry, RegisteredModel
from airflow_ml.core.record import JSON


def in_namespace(registry: ModelRegistry, namespace: str) -> ModelRegistry:
    """Return a registry whose aliases are those of a namespace; in ``prod`` the registry itself."""
    return registry if namespace == PRODUCTION else NamespacedRegistry(registry, namespace)


class NamespacedRegistry:
    """A ``ModelRegistry`` of a branch or a user, over the one that it shares with production.

    ``champion`` means ``champion-ada`` in the namespace ``ada``. Until that exists, reading it gives production's.

    Args:
        registry: The shared registry.
        namespace: Not ``prod``.
    """

    def __init__(self, registry: ModelRegistry, namespace: str) -> None:
        self._registry = registry
        self._namespace = namespace

    def register(
        self,
        name: str,
        *,
        key: str,
        model_dir: Path,
        params: Mapping[str, JSON],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, Path],
        experiment: str,
    ) -> RegisteredModel:
        """Create a version; versions are numbered for all namespaces together."""
        return self._registry.register(
            name,
            key=key,
            model_dir=model_dir,
            params=params,
            metrics=metrics,
            tags=tags,
            files=files,
            experiment=experiment,
        )

    def get(self, name: str, version: str) -> RegisteredModel:
        """Return a version of any namespace."""
        return self._registry.get(name, version)

    def by_alias(self, name: str, alias: str) -> RegisteredModel | None:
        """Return the version that the namespace's own alias points to, else the one of production's."""
        return self._registry.by_alias(name, alias_in(self._namespace, alias)) or self._registry.by_alias(name, alias)

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Move the namespace's own alias; ``expected`` is what ``by_alias`` gave, production's included."""
        own = alias_in(self._namespace, alias)
        if expected is not None and self._registry.by_alias(name, own) is None:
            shared = self._registry.by_alias(name, alias)
            expected = None if shared is not None and shared.version == expected else expected
        self._registry.set_alias(name, own, version, expected=expected)

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""
        self._registry.set_tags(name, version, tags)
