"""Whether the nodes of a cluster can take a pod, and what of them is free: from nodes and pods as plain data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")
_ENDED = ("Succeeded", "Failed")


def amount(quantity: object) -> Decimal:
    """Return a quantity such as ``500m`` or ``2Gi`` as a number; 0 where it is none."""
    found = _QUANTITY.fullmatch(str(quantity))
    return Decimal(found[1]) * _SUFFIXES[found[2]] if found and found[2] in _SUFFIXES else Decimal(0)


def requests_of(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return what a pod's containers ask of its node, together."""
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        resources = container.get("resources") or {}
        for name, quantity in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            total[name] = total.get(name, Decimal(0)) + amount(quantity)
    return total


def misfit(node: Mapping[str, Any], spec: Mapping[str, Any], free: Mapping[str, Decimal] | None = None) -> str:
    """Return why a node cannot take a pod; empty where it can.

    Args:
        node: As the API server returns it.
        spec: Of the pod.
        free: What is left of the node; None for an empty one.
    """
    labels = (node.get("metadata") or {}).get("labels") or {}
    if (node.get("spec") or {}).get("unschedulable"):
        return "is closed to new pods"
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return f"lacks the label {key}={value}"
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for one in term.get("matchExpressions") or ():
            if not _matches(labels.get(one["key"]), one["operator"], one.get("values") or []):
                return f"label {one['key']} is {labels.get(one['key'], 'absent')}, {_wanted(one)} is needed"
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") != "PreferNoSchedule" and not _tolerated(taint, spec.get("tolerations") or ()):
            return f"has the taint {taint['key']}"
    room = free if free is not None else allocatable(node)
    for name, wanted in requests_of(spec).items():
        if room.get(name, Decimal(0)) < wanted:
            return f"has {_readable(name, room.get(name, Decimal(0)))} {name}, {_readable(name, wanted)} is needed"
    return ""


def allocatable(node: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return what a node can give to pods."""
    return {name: amount(value) for name, value in ((node.get("status") or {}).get("allocatable") or {}).items()}


def free_of(node: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """Return what is left of a node after the pods that run on it."""
    name, left = (node.get("metadata") or {}).get("name"), allocatable(node)
    for pod in pods:
        spec = pod.get("spec") or {}
        if spec.get("nodeName") == name and (pod.get("status") or {}).get("phase") not in _ENDED:
            for resource, wanted in requests_of(spec).items():
                left[resource] = left.get(resource, Decimal(0)) - wanted
    return left


def capacity_words(nodes: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]], resource: str) -> str:
    """Return how much of a resource is free, over all nodes that have it: ``3 of 8 nvidia.com/gpu free on 2 nodes``."""
    having = [node for node in nodes if allocatable(node).get(resource)]
    if not having:
        return f"no node has {resource}"
    whole = sum((allocatable(node)[resource] for node in having), Decimal(0))
    left = sum((free_of(node, pods)[resource] for node in having), Decimal(0))
    plural = "" if len(having) == 1 else "s"
    return f"{_readable(resource, left)} of {_readable(resource, whole)} {resource} free on {len(having)} node{plural}"


def reasons(found: Iterable[str]) -> str:
    """Return why nodes cannot take a pod, counted: ``2 nodes: has the taint x; 1 node: ...``."""
    return "; ".join(f"{n} node{'' if n == 1 else 's'}: {why}" for why, n in Counter(found).most_common(5))


def _matches(value: str | None, operator: str, values: Sequence[str]) -> bool:
    if operator in ("Exists", "DoesNotExist"):
        return (value is not None) == (operator == "Exists")
    if operator in ("In", "NotIn"):
        return (value in values) == (operator == "In")
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])


def _wanted(expression: Mapping[str, Any]) -> str:
    words = {"Gt": "more than ", "Lt": "less than ", "NotIn": "not ", "Exists": "any", "DoesNotExist": "none"}
    return words.get(expression["operator"], "") + " or ".join(expression.get("values") or [])


def _tolerated(taint: Mapping[str, Any], tolerations: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        (not one.get("effect") or one.get("effect") == taint.get("effect"))
        and (
            (one.get("operator") == "Exists" and (not one.get("key") or one.get("key") == taint.get("key")))
            or (one.get("key") == taint.get("key") and (one.get("value") or "") == (taint.get("value") or ""))
        )
        for one in tolerations
    )


def _readable(name: str, value: Decimal) -> str:
    if name in ("memory", "ephemeral-storage"):
        return f"{float(value) / 2**30:.4g}Gi"
    return f"{float(value):g}"
