"""Which nodes can take a pod, why the others cannot, and what is free."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_ml.core.node_fit import amount, capacity_words, free_of, misfit, reasons, requests_of
from airflow_ml.core.pod_template import pod_template

from .compute_cases import cluster


def node(name: str = "n1", *, labels: Any = None, taints: Any = (), **allocatable: str) -> dict[str, Any]:
    room = {"cpu": "16", "memory": "128Gi", "ephemeral-storage": "100Gi", "pods": "110", **allocatable}
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {key.replace("gpu", "nvidia.com/gpu"): value for key, value in room.items()}},
    }


def spec(**table: Any) -> dict[str, Any]:
    return pod_template(cluster(table.pop("kubernetes", None), **table))["spec"]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("quantity", "number"),
    [("500m", "0.5"), ("2Gi", str(2 * 2**30)), ("1e3", "1000"), ("8", "8"), ("3k", "3000"), ("what", "0"), (4, "4")],
)
def test_quantities(quantity: object, number: str) -> None:
    assert amount(quantity) == Decimal(number)


def test_what_a_pod_asks() -> None:
    asked = requests_of(spec(cpus=1.5, memory_gib=2, gpus=1))
    assert asked["cpu"] == Decimal("1.5")
    assert asked["memory"] == 2 * 2**30
    assert asked["nvidia.com/gpu"] == 1


GPU_TAINT = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("where", "asked", "why"),
    [
        (node(), spec(), ""),
        (node(), spec(cpus=32), "has 16 cpu, 32 is needed"),
        (node(), spec(memory_gib=256), "has 128Gi memory, 256Gi is needed"),
        (node(), spec(gpus=1), "has 0 nvidia.com/gpu, 1 is needed"),
        (node(gpu="4", taints=[GPU_TAINT]), spec(gpus=4), ""),
        (node(taints=[GPU_TAINT]), spec(), "has the taint nvidia.com/gpu"),
        (node(taints=[{"key": "x", "effect": "PreferNoSchedule"}]), spec(), ""),
        (
            node(taints=[{"key": "team", "value": "ml", "effect": "NoSchedule"}]),
            spec(kubernetes={"tolerations": [{"key": "team", "operator": "Equal", "value": "ml"}]}),
            "",
        ),
        (node(), spec(kubernetes={"node_selector": {"pool": "gpu"}}), "lacks the label pool=gpu"),
        (
            node(labels={"nvidia.com/gpu.memory": "23028"}, gpu="1"),
            spec(gpus={"memory_gib": 80}),
            "label nvidia.com/gpu.memory is 23028, more than 73727 is needed",
        ),
        (node(labels={"nvidia.com/gpu.memory": "23028"}, gpu="1"), spec(gpus={"memory_gib": 24}), ""),
        (node(), spec(kubernetes={"spot": "only"}), "label karpenter.sh/capacity-type is absent, spot is needed"),
        (node(), spec(kubernetes={"spot": "never"}), ""),
        (node(), spec(kubernetes={"spot": "prefer"}), ""),
    ],
)
def test_fit(where: dict[str, Any], asked: dict[str, Any], why: str) -> None:
    assert misfit(where, asked) == why


def test_a_closed_node() -> None:
    where = node()
    where["spec"]["unschedulable"] = True
    assert misfit(where, spec()) == "is closed to new pods"


def test_what_is_free() -> None:
    nodes = [node("a", gpu="4"), node("b", gpu="4"), node("c")]
    pods = [
        {"spec": {**spec(gpus=3), "nodeName": "a"}, "status": {"phase": "Running"}},
        {"spec": {**spec(gpus=4), "nodeName": "b"}, "status": {"phase": "Succeeded"}},
        {"spec": spec(gpus=4), "status": {"phase": "Pending"}},
    ]
    assert free_of(nodes[0], pods)["nvidia.com/gpu"] == 1
    assert capacity_words(nodes, pods, "nvidia.com/gpu") == "5 of 8 nvidia.com/gpu free on 2 nodes"
    assert capacity_words(nodes, pods, "amd.com/gpu") == "no node has amd.com/gpu"
    assert misfit(nodes[0], spec(gpus=2), free_of(nodes[0], pods)) == "has 1 nvidia.com/gpu, 2 is needed"


def test_reasons_are_counted() -> None:
    assert reasons(["x", "y", "x"]) == "2 nodes: x; 1 node: y"
    assert reasons([]) == ""
