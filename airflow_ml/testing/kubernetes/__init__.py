"""A Kubernetes API for tests and laptops, whose containers are processes of this machine.

It speaks to the real clients (kubernetes, kubernetes_asyncio, kubectl) and to Airflow's operators: pods, Indexed Jobs,
watches, logs, exec, events, scheduling of GPUs, quotas, permissions, and faults on request.
"""

from airflow_ml.testing.kubernetes.double import KubernetesDouble, kubernetes_double
from airflow_ml.testing.kubernetes.faults import Faults
from airflow_ml.testing.kubernetes.scheduling import Node

__all__ = ["Faults", "KubernetesDouble", "Node", "kubernetes_double"]
