"""A Kubernetes cluster for tests and laptops: the API in this process, each container a process of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web

from airflow_ml.testing.kubernetes.access import Access
from airflow_ml.testing.kubernetes.admission import Admission
from airflow_ml.testing.kubernetes.certificate import make_certificate
from airflow_ml.testing.kubernetes.exec import Exec
from airflow_ml.testing.kubernetes.faults import Faults
from airflow_ml.testing.kubernetes.jobs import JobController
from airflow_ml.testing.kubernetes.kubeconfig import write_kubeconfig
from airflow_ml.testing.kubernetes.kueue import Kueue
from airflow_ml.testing.kubernetes.logs import Logs
from airflow_ml.testing.kubernetes.objects import Objects, changed
from airflow_ml.testing.kubernetes.pods import Kubelet
from airflow_ml.testing.kubernetes.requests import RequestCount
from airflow_ml.testing.kubernetes.resources import (
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    ApiError,
    Kind,
    Object,
    kind_of,
)
from airflow_ml.testing.kubernetes.scheduling import Node, Scheduler, not_ready, ready_again
from airflow_ml.testing.kubernetes.server import Server
from airflow_ml.testing.kubernetes.verbs import Verbs
from airflow_ml.testing.processes.launch import Processes

Result = TypeVar("Result")
_TIMEOUT_SECONDS = 30.0


class KubernetesDouble:
    """A cluster of one machine. Commands of containers run as the user who starts it: no image, no isolation.

    Clients reach it by ``kubeconfig``. Everything that it started ends with it, even if it is killed.

    Args:
        nodes: What the scheduler sees; all of them are this machine.
        namespaces: Besides ``default``.
        image_env: What each image would bring in its environment.
        schema_version: Kubernetes minor by whose OpenAPI schema new objects are checked; None for no check. Needs the
            package kubernetes-validate.
        kueue: Version of the API of Kueue, which admits suspended Jobs by the quota of queues that ``create`` makes:
            ``v1beta2`` or ``v1beta1``; None for a cluster without Kueue.
        history: Changes of each kind that a watch can ask for; older ones are 410 Gone.
        port: TCP port on 127.0.0.1; 0 takes a free one.
        folder: For kubeconfig, logs and volumes; a temporary one where it is None, which ends with the double.
    """

    def __init__(
        self,
        *,
        nodes: Sequence[Node] = (Node(),),
        namespaces: Sequence[str] = (),
        image_env: Mapping[str, str] | None = None,
        schema_version: str | None = None,
        kueue: str | None = None,
        history: int = 20_000,
        port: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.faults, self.access, self.requests = Faults(), Access(), RequestCount()
        self.namespace = "default"
        self.url = ""
        self._own_folder = folder is None
        self._folder = folder
        self._port = port
        self._nodes, self._namespaces = tuple(nodes), ("default", *namespaces)
        self._image_env = dict(image_env or {})
        self._schema_version = schema_version
        self._kueue_version = kueue
        self._history = history
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def folder(self) -> Path:
        """Where everything is that it writes."""
        if self._folder is None:
            raise RuntimeError("The double was not started. Use it as a context manager, or call start() first.")
        return self._folder

    @property
    def kubeconfig(self) -> Path:
        """The file by which clients find it."""
        return self.folder / "kubeconfig"

    # ---- start and end

    def start(self) -> Self:
        """Start it and return when it answers.

        Raises:
            OSError: the port is taken.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="airflow-ml-cluster-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        started = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self._serve(started))
            except BaseException as error:
                failed.append(error)
            finally:
                started.set()

        self._thread = threading.Thread(target=run, name="kubernetes-double", daemon=True)
        self._thread.start()
        started.wait()
        if failed:
            raise failed[0]
        return self

    def stop(self) -> None:
        """End it and every process that it started; safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(_TIMEOUT_SECONDS)
        if self._folder is None:
            return
        if self._own_folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        shutil.rmtree(self._folder / "pods", ignore_errors=True)
        for key in (self.kubeconfig, self._folder / "server.pem"):
            key.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        token = secrets.token_urlsafe(24)
        processes = Processes()
        self._loop.add_reader(processes.fileno(), processes.receive)
        self._objects = objects = Objects(history=self._history)
        self._kubelet = kubelet = Kubelet(objects, processes, self.folder, self.faults, self._image_env)
        Scheduler(objects, kubelet.run)
        admission = Admission(objects, schema_version=self._schema_version)
        jobs = JobController(objects, kubelet, admission)
        kueue = Kueue(objects, self._kueue_version) if self._kueue_version is not None else None
        self._verbs = Verbs(objects, kubelet, jobs, admission)
        for name in self._namespaces:
            labels = {"kubernetes.io/metadata.name": name}
            status = {"phase": "Active"}
            objects.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": status})
        for node in self._nodes:
            objects.create(NODES, node.to_object())
        server = Server(
            objects=objects,
            verbs=self._verbs,
            logs=Logs(kubelet, self.folder),
            exec=Exec(kubelet),
            faults=self.faults,
            access=self.access,
            requests=self.requests,
            kueue=kueue,
            token=token,
        )
        certificate = make_certificate(self.folder)
        runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=certificate.server, backlog=1024)
            await site.start()
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            write_kubeconfig(
                self.kubeconfig,
                url=self.url,
                authority=certificate.authority,
                token=token,
                namespace=self.namespace,
            )
            started.set()
            await self._stop.wait()
        finally:
            await kubelet.close()
            await runner.cleanup()
            self._loop.remove_reader(processes.fileno())
            processes.close()

    # ---- what a test sees and does

    def client(self) -> Any:
        """Return an ``ApiClient`` of the package kubernetes."""
        from kubernetes import config

        return config.new_client_from_config(str(self.kubeconfig))

    def create(self, item: Object) -> Object:
        """Create an object as an administrator would: a Secret, a ConfigMap, a Namespace, a ResourceQuota.

        Raises:
            ValueError: the API would refuse it.
        """
        kind = kind_of(str(item.get("apiVersion")), str(item.get("kind")))
        if kind is None:
            raise ValueError(f"The double knows no {item.get('apiVersion')} {item.get('kind')}.")
        place = ((item.get("metadata") or {}).get("namespace") or self.namespace) if kind.namespaced else ""
        return self._call(lambda: self._verbs.create(kind, place, item, dry_run=False))

    def pods(self, namespace: str | None = None) -> list[Object]:
        """Return all pods, of one namespace or of all."""
        return self._call(lambda: list(self._objects.items(PODS, namespace)))

    def jobs(self, namespace: str | None = None) -> list[Object]:
        """Return all Jobs."""
        return self._call(lambda: list(self._objects.items(JOBS, namespace)))

    def disrupt(self, pod: str, what: str, *, namespace: str | None = None) -> None:
        """Let something befall a running pod now; ``Faults.disrupt_pods`` names what.

        Raises:
            ValueError: there is no such pod.
        """
        place = namespace or self.namespace
        self._call(lambda: self._kubelet.disrupt(self._objects.get(PODS, place, pod), what))

    def lose_node(self, name: str) -> None:
        """Let a node vanish with its pods, until ``recover_node``."""

        def lose() -> None:
            self._objects.put(NODES, not_ready(self._objects.get(NODES, "", name)))
            for pod in self._objects.items(PODS):
                if pod["spec"].get("nodeName") == name:
                    self._kubelet.disrupt(pod, "node_lost")

        self._call(lose)

    def recover_node(self, name: str) -> None:
        """Let a lost node come back."""
        self._call(lambda: self._objects.put(NODES, ready_again(self._objects.get(NODES, "", name))))

    def cordon(self, name: str, unschedulable: bool = True) -> None:
        """Let the scheduler bind no more pods to a node."""

        def mark() -> None:
            node = self._objects.get(NODES, "", name)
            self._objects.put(NODES, {**changed(node), "spec": {**node["spec"], "unschedulable": unschedulable}})

        self._call(mark)

    def forget_history(self, kind: Kind | None = None) -> None:
        """Drop what watches could ask for: a watch from an earlier version is then 410 Gone."""

        def forget() -> None:
            for one in (kind,) if kind else (PODS, JOBS):
                self._objects.collection(one).forget()

        self._call(forget)

    def _call(self, function: Callable[[], Result]) -> Result:
        if self._loop is None or self._thread is None:
            raise RuntimeError("The double does not run. Use it as a context manager, or call start() first.")

        async def run() -> Result:
            try:
                return function()
            except ApiError as error:
                raise ValueError(f"{error.code} {error.reason}: {error.message}") from error

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_TIMEOUT_SECONDS)


@contextlib.contextmanager
def kubernetes_double(**settings: Any) -> Iterator[KubernetesDouble]:
    """Run a double for the time of a ``with``; the arguments are those of ``KubernetesDouble``.

    As a fixture of pytest::

        @pytest.fixture
        def cluster():
            with kubernetes_double(nodes=[Node(capacity={"nvidia.com/gpu": 2})]) as cluster:
                yield cluster
    """
    with KubernetesDouble(**settings) as double:
        yield double
