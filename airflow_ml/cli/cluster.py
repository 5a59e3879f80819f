"""``airflow-ml cluster``: a Kubernetes cluster of this machine's processes, so that a laptop runs a DAG's pods."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from airflow_ml.errors import ConfigurationError, MissingDependency

_DEFAULT_FOLDER = Path("~/.cache/airflow-ml/cluster")


def cluster(options: argparse.Namespace) -> int:
    """Run the cluster in the foreground until Ctrl-C or SIGTERM, which end it with everything that it started.

    Raises:
        ConfigurationError: ``--local`` was not given, or another cluster has the port.
        MissingDependency: the extra ``kubernetes`` is not installed.
    """
    if not options.local:
        raise ConfigurationError("There is no cluster to start but a local one", "--local is missing", "Give --local.")
    try:
        from airflow_ml.testing.kubernetes import KubernetesDouble, Node
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "A local cluster needs a package", str(error.name), "Install airflow-ml[kubernetes]."
        ) from error
    folder = Path(options.folder).expanduser() if options.folder else _DEFAULT_FOLDER.expanduser()
    capacity = {"pods": str(options.pods), **({"nvidia.com/gpu": options.gpus} if options.gpus else {})}
    double = KubernetesDouble(nodes=[Node(name="laptop", capacity=capacity)], folder=folder, port=options.port)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stop.set())
    try:
        double.start()
    except OSError as error:
        raise ConfigurationError(
            "The cluster cannot have its port", f"{options.port}: {error}", "Give another --port, or none."
        ) from error
    try:
        _print(double.kubeconfig, double.url, options)
        stop.wait()
    finally:
        double.stop()
    return 0


def _print(kubeconfig: Path, url: str, options: argparse.Namespace) -> None:
    connection = json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig)}})
    if options.output == "json":
        print(json.dumps({"kubeconfig": str(kubeconfig), "url": url, "connection": json.loads(connection)}))
    else:
        print(_TEXT.format(url=url, kubeconfig=kubeconfig, connection=connection, gpus=_gpus(options.gpus)))
    sys.stdout.flush()


def _gpus(count: int) -> str:
    return f"gpus = {count}\n" if count else ""


_TEXT = """\
A Kubernetes cluster of this machine's processes runs at {url}. Ctrl-C ends it and all its pods.
Its containers have no image and no isolation: their commands run as you, with this machine's programs.

kubeconfig    {kubeconfig}
Airflow       export AIRFLOW_CONN_KUBERNETES_DEFAULT='{connection}'
kubectl       kubectl --kubeconfig {kubeconfig} get pods

A profile for it, in the file that [ml] compute_profiles names:

[k8s]
kind = "kubernetes"
image = "python:3.11"
{gpus}[k8s.kubernetes]
conn_id = "kubernetes_default"
namespace = "default"
image_by_tag = true
"""
