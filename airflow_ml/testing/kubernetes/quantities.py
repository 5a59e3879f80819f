"""Quantities such as ``500m``, ``2Gi`` and ``1e3`` as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from airflow_ml.testing.kubernetes.resources import ApiError, Object

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)$")


def amount(quantity: Any) -> float:
    """Return a quantity as a number.

    Raises:
        ApiError: 400.
    """
    found = _QUANTITY.match(str(quantity))
    if found is None or found[2] not in _SUFFIXES:
        raise ApiError(400, "BadRequest", f"quantities must match the regular expression, not {quantity!r}")
    return float(Decimal(found[1]) * _SUFFIXES[found[2]])


def requests_of(spec: Object) -> dict[str, float]:
    """Return what a pod asks of a node: its containers together, or its greediest init container."""
    total: dict[str, float] = {}
    for container in spec.get("containers") or []:
        for name, value in container_requests(container).items():
            total[name] = total.get(name, 0.0) + value
    for container in spec.get("initContainers") or []:
        for name, value in container_requests(container).items():
            total[name] = max(total.get(name, 0.0), value)
    return total


def container_requests(container: Object) -> dict[str, float]:
    """Return a container's requests; a limit without a request is one."""
    resources: Mapping[str, Any] = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: amount(value) for name, value in asked.items()}


def memory_limit(container: Object) -> int | None:
    """Return a container's memory limit in bytes."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return None if limit is None else int(amount(limit))
