"""What only a compute profile of kind ``kubernetes`` knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_ml.core.record import JSON
from airflow_ml.core.strict_fields import bounds, read_fields
from airflow_ml.core.variables import refuse_secrets, refuse_taken
from airflow_ml.errors import ConfigurationError

#: Levels of the Pod Security Standards.
RESTRICTED, BASELINE, PRIVILEGED = "restricted", "baseline", "privileged"
#: What a pod says of spot nodes: nothing; rather there, on demand where there is none; only there; never there.
ANY, PREFER, ONLY, NEVER = "any", "prefer", "only", "never"

_LABEL_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAME_MEANT = "a name of Kubernetes: lower-case letters, digits, hyphens and dots"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions:
    """Options of the table ``[<profile>.kubernetes]``."""

    #: Airflow connection of the cluster.
    conn_id: str = "kubernetes_default"
    namespace: str = bounds("default", pattern=_DNS_LABEL, meant=_NAME_MEANT)
    #: Account whose workload identity opens the store; None for the namespace's default one.
    service_account: str | None = bounds(None, pattern=_DNS_NAME, meant=_NAME_MEANT)
    #: Labels that a node must have.
    node_selector: Mapping[str, str] = bounds(
        factory=dict, pattern=_LABEL_VALUE, meant="a label's value: at most 63 letters, digits, hyphens, dots"
    )
    #: As in a pod's specification. The one for GPU nodes and the one for ``spot_label`` are added without being named.
    tolerations: tuple[Mapping[str, JSON], ...] = ()
    #: For example ``nvidia``, where the cluster's default runtime has no GPUs.
    runtime_class: str | None = bounds(None, pattern=_DNS_NAME, meant=_NAME_MEANT)
    priority_class: str | None = bounds(None, pattern=_DNS_NAME, meant=_NAME_MEANT)
    #: Local queue of Kueue: the job is made suspended, and Kueue lets it go when its quota allows.
    kueue_queue: str | None = bounds(None, pattern=_DNS_LABEL, meant=_NAME_MEANT)
    image_pull_secrets: tuple[str, ...] = bounds((), pattern=_DNS_NAME, meant=_NAME_MEANT)
    #: Take an image by its tag. A tag can mean another image tomorrow: for a laptop's cluster.
    image_by_tag: bool = False
    #: ``any`` says nothing of spot nodes; ``prefer`` falls back to nodes on demand; ``only`` and ``never`` are strict.
    spot: str = bounds(ANY, choices=(ANY, PREFER, ONLY, NEVER))
    #: Label (and taint, where there is one) of spot nodes, as ``key=value``.
    spot_label: str = bounds(
        "karpenter.sh/capacity-type=spot", pattern=r"[A-Za-z0-9./_-]+=[A-Za-z0-9._-]+", meant="key=value"
    )
    #: Labels that say how much memory a node's devices have, in MiB, and which they are. An autoscaler adds nodes for
    #: labels that it knows beforehand only: Karpenter for ``karpenter.k8s.aws/instance-gpu-memory`` and
    #: ``karpenter.k8s.aws/instance-gpu-name``, GKE for ``cloud.google.com/gke-accelerator``.
    gpu_memory_label: str = bounds("nvidia.com/gpu.memory", pattern=_LABEL_KEY.pattern, meant="a label's name")
    gpu_product_label: str = bounds("nvidia.com/gpu.product", pattern=_LABEL_KEY.pattern, meant="a label's name")
    #: Variables of the container, for everybody to see.
    env: Mapping[str, str] = bounds(factory=dict)
    #: Variables whose values are in secrets of the namespace: ``NAME = "secret/key"``.
    secrets: Mapping[str, str] = bounds(
        factory=dict, pattern=rf"{_DNS_NAME}/[A-Za-z0-9._-]{{1,253}}", meant="secret/key, in the pod's namespace"
    )
    #: Persistent volume claims by the folder where they are mounted, for a store on a shared file system.
    claims: Mapping[str, str] = bounds(factory=dict, pattern=_DNS_NAME, meant=_NAME_MEANT)
    #: Further labels of job and pods, such as the one that asks for a workload identity.
    labels: Mapping[str, str] = bounds(
        factory=dict, pattern=_LABEL_VALUE, meant="a label's value: at most 63 letters, digits, hyphens, dots"
    )
    annotations: Mapping[str, str] = bounds(factory=dict)
    #: Indexes that may fail before Kubernetes ends the job; None for all of them.
    max_failed_indexes: int | None = bounds(None, least=0, most=100_000)
    #: Share of the indexes that is enough: when so many have succeeded, the others are ended; None for all of them.
    success_fraction: float | None = bounds(None, above=0, most=1)
    #: After its end the job is kept for so long. Results do not depend on it; the logs of its pods do.
    ttl_seconds: int = bounds(86_400, least=60)
    #: Page of a pod's log where the cluster's logs are kept, with ``{namespace}``, ``{job}`` and ``{pod}`` in it: named
    #: in the task's log beside each index that failed. None for the ``kubectl`` command.
    log_url: str | None = bounds(None, pattern=r"https?://[!-~]{1,500}", meant="an address that begins with https://")
    #: Make the job suspended, for whatever queue lets it go.
    suspend: bool = False
    #: How long a pod may wait for a node. Longer than most autoscalers take to add one; not counted as a try.
    schedule_timeout_seconds: float = bounds(3600.0, above=0)
    #: How long an image may fail to be pulled, or a container to be created.
    start_timeout_seconds: float = bounds(300.0, above=0)
    #: From the signal to end until the kill: the time for the last checkpoint.
    grace_seconds: int = bounds(60, least=1, most=3600)
    #: User id of the container's process; not 0, but with ``pod_security = "baseline"``.
    run_as_user: int = bounds(1000, least=0, most=2**31 - 1)
    #: ``restricted`` is Kubernetes' strictest standard. ``baseline`` allows root. ``privileged`` gives the container
    #: the whole node.
    pod_security: str = bounds(RESTRICTED, choices=(RESTRICTED, BASELINE, PRIVILEGED))
    #: Let the image's own files be written, for images that insist. ``/tmp`` and the home folder always can be.
    writable_root_filesystem: bool = False

    @classmethod
    def read(cls, options: Mapping[str, JSON], *, where: str) -> KubernetesOptions:
        """Return the options of a profile.

        Raises:
            ConfigurationError: one of them cannot work; the message names it.
        """
        read = read_fields(cls, options, where=where)
        _check_names(read, where)
        if read.run_as_user == 0 and read.pod_security == RESTRICTED:
            raise ConfigurationError(
                f"{where}: run_as_user is root", 0, f'Give another user, or pod_security = "{BASELINE}".'
            )
        for path in read.claims:
            if not path.startswith("/") or ":" in path or ".." in path or path == "/":
                raise ConfigurationError(f"{where}: claims has a folder that is not absolute", path, "Use /folder.")
        return read


def _check_names(read: KubernetesOptions, where: str) -> None:
    for table in ("labels", "annotations", "node_selector"):
        for key in getattr(read, table):
            if not _LABEL_KEY.fullmatch(key):
                raise ConfigurationError(f"{where}: {table} has a key that Kubernetes refuses", key, "Use prefix/name.")
            if key.startswith("airflow-ml/") and table != "node_selector":
                raise ConfigurationError(f"{where}: {table} has a key of airflow-ml's own", key, "Use another prefix.")
    refuse_taken(read.env, where=f"{where}: env")
    refuse_taken(read.secrets, where=f"{where}: secrets")
    remedy = 'Put it into a secret of the namespace, and under secrets: NAME = "secret/key".'
    refuse_secrets(read.env, where=f"{where}: env", remedy=remedy)
    both = sorted(set(read.env) & set(read.secrets))
    if both:
        raise ConfigurationError(f"{where}: env and secrets both set", ", ".join(both), "Leave it out of env.")
