"""Compute profiles: where a call runs, as plain data that a deployment owns and a DAG names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_ml.core.record import JSON, Record

#: In the task's process; in processes beside it; as pods; as jobs of AWS Batch.
WORKER, LOCAL, KUBERNETES, BATCH = "worker", "local", "kubernetes", "batch"
KINDS = (WORKER, LOCAL, KUBERNETES, BATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus(Record):
    """What of a graphics processor each call gets."""

    #: Whole devices, or slices where ``mig`` is given.
    count: int = 1
    #: NVIDIA MIG profile, for example ``1g.10gb``: the resource is then ``nvidia.com/mig-1g.10gb``.
    mig: str | None = None
    #: Least memory of a device in GiB, by the node label of NVIDIA's feature discovery.
    memory_gib: int | None = None
    #: Product by node label, for example ``NVIDIA-A100-SXM4-80GB``.
    product: str | None = None
    #: Name of the extended resource; another vendor's goes here.
    resource: str = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources(Record):
    """Requests and limits of one call; they are the same, so that what is promised is there."""

    cpus: float = 1.0
    memory_gib: float = 2.0
    #: Scratch space on the node's disk.
    ephemeral_gib: float = 2.0
    #: ``/dev/shm``, in memory and counted as such, for data loaders with worker processes; 0 for the default 64 MiB.
    shm_gib: float = 0.0
    gpus: Gpus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeProfile(Record):
    """One named place to run calls. Read from the deployment's profile file; a task may override single fields."""

    name: str
    kind: str = LOCAL
    resources: Resources = field(default_factory=Resources)
    #: Image with Python >= 3.11 and the user's libraries; by digest for anything but a laptop.
    image: str | None = None
    #: Calls of one index: more of them per pod where each is short.
    calls_per_index: int = 1
    #: Indexes side by side.
    parallelism: int = 100
    #: Longest time of one index, in seconds; None for no limit but the calls' own.
    timeout_seconds: float | None = None
    #: How often an index that was disrupted or failed is begun again.
    retries: int = 2
    #: What only one kind knows (namespace, queue, tolerations, ...), checked by that kind's adapter.
    options: Mapping[str, JSON] = field(default_factory=dict)
