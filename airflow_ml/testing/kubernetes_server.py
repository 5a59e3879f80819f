"""A real Kubernetes API server on one machine, for tests: etcd, kube-apiserver and, if it is there, its controllers.

There is no scheduler and no kubelet: what is created is validated, defaulted, admitted and stored as in any cluster,
and no pod ever runs. The programs are named by ``ETCD``, ``KUBE_APISERVER`` and ``KUBE_CONTROLLER_MANAGER``.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airflow_ml.testing.child_process import ChildProcess, free_ports, stop

PROGRAMS = ("KUBE_APISERVER", "ETCD")
CONTROLLERS = "KUBE_CONTROLLER_MANAGER"
#: What decides on a pod beside its schema, in the clusters of the large providers too.
ADMISSION = (
    "NamespaceLifecycle",
    "LimitRanger",
    "ServiceAccount",
    "DefaultTolerationSeconds",
    "ExtendedResourceToleration",
    "Priority",
    "RuntimeClass",
    "PodNodeSelector",
    "PersistentVolumeClaimResize",
    "ResourceQuota",
)
#: Whose groups may do everything.
ADMIN = "admin"


def missing_programs(names: Sequence[str] = PROGRAMS) -> str:
    """Return which of the environment's variables name no program; empty where all do."""
    return ", ".join(name for name in names if not os.access(os.environ.get(name, ""), os.X_OK))


class LocalApiServer:
    """Starts and stops the processes, on ports of 127.0.0.1. Also a context manager.

    Args:
        directory: For keys, data and logs; made if absent.
        users: Names that have a token and, but for ``admin``, no right until a role gives them one.
        admission: Plugins that are on beside the server's own defaults.
        controllers: Controllers to run, where ``KUBE_CONTROLLER_MANAGER`` names their program; none: no process.
        gates: Feature gates, of the server and of the controllers.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: Sequence[str] = (),
        admission: Sequence[str] = ADMISSION,
        controllers: Sequence[str] = (),
        gates: Mapping[str, bool] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.tokens = {name: secrets.token_urlsafe(24) for name in (ADMIN, *users)}
        self._admission = tuple(admission)
        self._controllers = tuple(controllers)
        self._gates = ",".join(f"{name}={str(on).lower()}" for name, on in (gates or {}).items())
        self._port, *self._etcd_ports = free_ports(3)
        self._processes: list[ChildProcess] = []

    @property
    def url(self) -> str:
        """The server's address."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def authority(self) -> Path:
        """PEM of the authority that signed the server's certificate."""
        return self.directory / "authority.pem"

    def client(self, user: str = ADMIN, *, token: str = "") -> Any:
        """Return a ``kubernetes.client.ApiClient`` for a user, or for whoever a token is of."""
        from kubernetes import client

        settings = client.Configuration(host=self.url)
        settings.ssl_ca_cert = str(self.authority)
        settings.api_key = {"BearerToken": f"Bearer {token or self.tokens[user]}"}
        return client.ApiClient(settings)

    def kubeconfig(self, user: str = ADMIN) -> dict[str, Any]:
        """Return a kubeconfig, as plain data."""
        authority = base64.b64encode(self.authority.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": user,
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": user, "context": {"cluster": "local", "user": user}}],
        }

    def start(self, timeout_seconds: float = 180.0) -> Self:
        """Start everything; return when the server says that it is ready.

        Raises:
            ChildFailed: a process ended or was not ready in time, with the end of its log. Nothing is left running.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self._start_server(timeout_seconds)
            if self._controllers and not missing_programs([CONTROLLERS]):
                self._start_controllers()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> list[str]:
        """End all processes, the server first; return what had to be killed. Safe to call twice."""
        ids = [process.id for process in reversed(self._processes)]
        self._processes.clear()
        return stop(ids, grace_seconds=20)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _start_server(self, timeout_seconds: float) -> None:
        _make_keys(self.directory)
        tokens = self.directory / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(
            "".join(
                f"{token},{name},{number}{',system:masters' if name == ADMIN else ''}\n"
                for number, (name, token) in enumerate(self.tokens.items())
            )
        )
        etcd, peers = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        self._run(
            "etcd", "ETCD", f"--data-dir={self.directory / 'etcd'}", f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}", "--unsafe-no-fsync",
        )  # fmt: skip
        server = self._run(
            "kube-apiserver", "KUBE_APISERVER", f"--etcd-servers={etcd}", "--bind-address=127.0.0.1",
            f"--secure-port={self._port}", f"--tls-cert-file={self.directory / 'server.pem'}",
            f"--tls-private-key-file={self.directory / 'server.pem'}", f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC", "--anonymous-auth=false", "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none", f"--service-account-issuer={self.url}",
            f"--service-account-key-file={self.directory / 'account.pub'}",
            f"--service-account-signing-key-file={self.directory / 'account.key'}",
            f"--enable-admission-plugins={','.join(self._admission)}", *self._gate_arguments(),
        )  # fmt: skip
        server.wait_until(self._ready, timeout_seconds=timeout_seconds)

    def _start_controllers(self) -> None:
        config = self.directory / "controllers.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps(self.kubeconfig()))
        self._run(
            "kube-controller-manager", CONTROLLERS, f"--kubeconfig={config}", "--bind-address=127.0.0.1",
            f"--secure-port={free_ports(1)[0]}", "--leader-elect=false", f"--controllers={','.join(self._controllers)}",
            f"--service-account-private-key-file={self.directory / 'account.key'}", *self._gate_arguments(),
        )  # fmt: skip

    def _gate_arguments(self) -> list[str]:
        return [f"--feature-gates={self._gates}"] if self._gates else []

    def _run(self, name: str, variable: str, *arguments: str) -> ChildProcess:
        command = [os.environ[variable], *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        log_path = self.directory / f"{name}.log"
        process = ChildProcess(name, command, log_path=log_path, env=environment, cwd=self.directory)
        self._processes.append(process)
        return process

    def _ready(self) -> bool:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        client = self.client()
        client.rest_client.pool_manager.connection_pool_kw["retries"] = False
        try:
            found = client.call_api(
                "/readyz", "GET", auth_settings=["BearerToken"], response_types_map={200: "str"}, _request_timeout=5
            )
        except (ApiException, HTTPError, OSError):
            return False
        return int(found[1]) == 200


def _make_keys(directory: Path) -> None:
    """Write the server's certificate with its authority, and the keys by which tokens of accounts are signed."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    from airflow_ml.testing.kubernetes.certificate import make_certificate

    made = make_certificate(directory)
    (directory / "authority.pem").write_bytes(made.authority)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    (directory / "account.key").touch(mode=0o600)
    (directory / "account.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, none)
    )
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / "account.pub").write_bytes(public)
