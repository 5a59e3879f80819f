"""Compute profiles: where a call runs, as plain data that a deployment owns and a DAG names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_ml.core.batch_options import BatchOptions
from airflow_ml.core.compute_choice import BATCH, KINDS, KUBERNETES, LOCAL, WORKER, split_compute
from airflow_ml.core.kubernetes_options import KubernetesOptions
from airflow_ml.core.record import JSON, Record, encode
from airflow_ml.core.spelling import did_you_mean
from airflow_ml.core.strict_fields import as_table, bounds, read_fields, refuse_unknown
from airflow_ml.errors import ConfigurationError

#: Memory of the second try after a call ran out of it, as a multiple of the first's.
MEMORY_GROWTH = 1.5

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_BY_DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus(Record):
    """What of a graphics processor each call gets."""

    #: Whole devices, or slices where ``mig`` is given.
    count: int = bounds(1, least=1, most=64)
    #: NVIDIA MIG profile, for example ``1g.10gb``: the resource is then ``nvidia.com/mig-1g.10gb``.
    mig: str | None = bounds(None, pattern=r"\d+g\.\d+gb(\.me|\+me)?", meant="a MIG profile such as 1g.10gb")
    #: Least memory of a device in GiB, by the node label that ``gpu_memory_label`` names. A device that reports a tenth
    #: less than the number on its box still counts.
    memory_gib: int | None = bounds(None, least=1, most=4096)
    #: Product by the node label that ``gpu_product_label`` names, for example ``NVIDIA-A100-SXM4-80GB``.
    product: str | None = bounds(
        None,
        pattern=r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
        meant="the value of a node's label",
    )
    #: Name of the extended resource; another vendor's goes here.
    resource: str = bounds(
        "nvidia.com/gpu", pattern=r"[a-z0-9.-]+/[A-Za-z0-9._-]+", meant="an extended resource: vendor.com/name"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources(Record):
    """Requests and limits of one call; they are the same, so that what is promised is there."""

    cpus: float = bounds(1.0, least=0.01, most=1024)
    memory_gib: float = bounds(2.0, least=0.0625, most=32_768)
    #: Scratch space on the node's disk.
    ephemeral_gib: float = bounds(2.0, least=0.0625, most=65_536)
    #: ``/dev/shm``, in memory and counted as such, for data loaders with worker processes; 0 for the default 64 MiB.
    shm_gib: float = bounds(0.0, least=0, most=32_768)
    gpus: Gpus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeProfile(Record):
    """One named place to run calls. Read from the deployment's profile file; a task may override single fields."""

    name: str = bounds(pattern=_NAME, meant="at most 63 letters, digits, dots, hyphens")
    kind: str = bounds(LOCAL, choices=KINDS)
    resources: Resources = field(default_factory=Resources)
    #: Image with Python >= 3.11 and the user's libraries; by digest for anything but a laptop.
    image: str | None = bounds(None, pattern=r"\S{1,512}", meant="an image's address")
    #: The image's interpreter.
    python: str = bounds("python3", pattern=r"[A-Za-z0-9._/-]{1,256}", meant="a command or its path")
    #: Calls of one index: more of them per pod where each is short.
    calls_per_index: int = bounds(1, least=1, most=100_000)
    #: Indexes side by side. Of those of AWS Batch the queue's compute environment decides, by its vCPUs.
    parallelism: int = bounds(100, least=1, most=100_000)
    #: Longest time of one index, in seconds; None for no limit but the calls' own.
    timeout_seconds: float | None = bounds(None, least=1)
    #: How often an index that was disrupted or failed is begun again.
    retries: int = bounds(2, least=0, most=9)
    #: Memory that the try after one that ran out of it may have, at most; None: no more than the first had.
    max_memory_gib: float | None = bounds(None, least=0.0625, most=32_768)
    #: What only one kind knows (namespace, queue, tolerations, ...): those of `KubernetesOptions` or `BatchOptions`.
    options: Mapping[str, JSON] = field(default_factory=dict)


_PLAIN = tuple(
    item.name
    for item in dataclasses.fields(ComputeProfile)
    if item.name not in ("name", "kind", "resources", "options")
)
_RESOURCES = tuple(item.name for item in dataclasses.fields(Resources))
#: What a task may say differently. Where a profile runs and as whom is the deployment's alone.
OVERRIDES = (*_RESOURCES, *_PLAIN)


def profile_from_dict(name: str, data: object, *, source: str = "") -> ComputeProfile:
    """Return a profile from its table in a profile file.

    All of the resources stand beside the other options; what only the kind knows stands in a table named after it::

        [gpu-large]
        kind = "kubernetes"
        image = "registry.example.com/train@sha256:..."
        cpus = 8
        memory_gib = 64
        gpus = { count = 1, memory_gib = 80 }     # or gpus = 1
        [gpu-large.kubernetes]
        namespace = "training"

    Args:
        name: The profile's name.
        data: The table.
        source: The file, for messages.

    Raises:
        ConfigurationError: something in it cannot work; the message names file, table, option, value and choices.
    """
    where = f"{source}, [{name}]" if source else f"[{name}]"
    table = as_table(data, where=where)
    kind = table.pop("kind", LOCAL)
    if kind not in KINDS:
        raise ConfigurationError(f"{where}: kind is none of its choices", repr(kind), f"Use {' or '.join(KINDS)}.")
    tables = [one for one in (KUBERNETES, BATCH) if one == kind]
    refuse_unknown(table, ("kind", *OVERRIDES, *tables), where=where)
    own = as_table(table.pop(str(kind), {}), where=f"{where[:-1]}.{kind}]")
    base = ComputeProfile(name=name, kind=str(kind), options={key: encode(value) for key, value in own.items()})
    return with_overrides(base, table, where=where)


def profile(name: str, **overrides: JSON) -> dict[str, JSON]:
    """Return a value for ``compute=`` that means a named profile with single fields changed.

    For example ``@task.ml(compute=profile("gpu-large", gpus=4))``. It is plain data.

    Args:
        name: The profile's name in the deployment's file.
        overrides: ``cpus``, ``memory_gib``, ``ephemeral_gib``, ``shm_gib``, ``gpus`` (a number, or the fields of
            `Gpus`), ``image``, ``python``, ``calls_per_index``, ``parallelism``, ``timeout_seconds``, ``retries``,
            ``max_memory_gib``. Where a profile runs and as whom is the deployment's, and cannot be said in a DAG.

    Raises:
        ConfigurationError: an unknown field, or a value that cannot work.
    """
    where = f"profile({name!r})"
    with_overrides(ComputeProfile(name=name), overrides, where=where)  # a mistake shows when the DAG file is parsed
    return {"profile": name, **overrides}


def named_profile(compute: str | Mapping[str, JSON], profiles: Mapping[str, ComputeProfile]) -> ComputeProfile:
    """Return the profile that a task's ``compute`` means.

    ``worker`` and ``local`` are there without being written down.

    Args:
        compute: A name, or what `profile` returned.
        profiles: Those of the deployment, by name.

    Raises:
        ConfigurationError: no such profile, or an override that cannot work.
    """
    name, overrides = split_compute(compute)
    known = {one: ComputeProfile(name=one, kind=one) for one in (WORKER, LOCAL)} | dict(profiles)
    found = known.get(name)
    if found is None:
        guess = did_you_mean(name, known)
        raise ConfigurationError(
            "No such compute profile", repr(name), f"{guess}This deployment has {', '.join(sorted(known))}."
        )
    return with_overrides(found, overrides, where=f"profile({name!r})") if overrides else found


def with_overrides(base: ComputeProfile, overrides: Mapping[str, object], *, where: str) -> ComputeProfile:
    """Return a profile with single fields changed, checked as a whole.

    Raises:
        ConfigurationError: an unknown field, or a value that cannot work.
    """
    refuse_unknown(overrides, OVERRIDES, where=where)
    values = dict(overrides)
    if "gpus" in values:
        values["gpus"] = _gpus(values["gpus"], base.resources.gpus, f"{where}: gpus")
    before = {key: getattr(base.resources, key) for key in _RESOURCES}
    resources = read_fields(Resources, before | {key: values[key] for key in _RESOURCES if key in values}, where=where)
    kept = {item.name: getattr(base, item.name) for item in dataclasses.fields(base)} | {"resources": resources}
    made = read_fields(ComputeProfile, kept | {key: values[key] for key in _PLAIN if key in values}, where=where)
    check_profile(made, where=where)
    return made


def grown(base: ComputeProfile) -> ComputeProfile | None:
    """Return the profile with half as much memory again, or as much as it may have; None where it may not grow."""
    most, has = base.max_memory_gib, base.resources.memory_gib
    if most is None or most <= has:
        return None
    resources = dataclasses.replace(base.resources, memory_gib=min(most, has * MEMORY_GROWTH))
    return dataclasses.replace(base, resources=resources)


def check_profile(made: ComputeProfile, *, where: str = "") -> None:
    """Refuse what the profile's kind cannot do.

    Raises:
        ConfigurationError: naming the option and the remedy.
    """
    where = where or f"[{made.name}]"
    if made.kind == KUBERNETES:
        _check_kubernetes(made, where)
    elif made.kind == BATCH:
        _check_batch(made, where)
    elif made.options:
        raise ConfigurationError(
            f"{where}: a profile of kind {made.kind} has no further options", ", ".join(made.options), "Remove them."
        )


def _gpus(value: object, before: Gpus | None, where: str) -> Gpus | None:
    if value is None or isinstance(value, Gpus):
        return value
    if isinstance(value, Mapping):
        return read_fields(Gpus, value, where=where)
    if value == 0 and not isinstance(value, bool):
        return None
    # A number alone changes the number alone.
    kept = {item.name: getattr(before or Gpus(), item.name) for item in dataclasses.fields(Gpus)}
    return read_fields(Gpus, {**kept, "count": value}, where=where)


def _check_kubernetes(made: ComputeProfile, where: str) -> None:
    options = KubernetesOptions.read(made.options, where=f"{where} {KUBERNETES}")
    gpus = made.resources.gpus
    _check_growth(made, where)
    if made.image is None:
        raise ConfigurationError(
            f"{where} lacks", "image", "Name one with Python >= 3.11 and your libraries, as name@sha256:digest."
        )
    if not options.image_by_tag and not _BY_DIGEST.fullmatch(made.image):
        raise ConfigurationError(
            f"{where}: image is not named by its digest",
            made.image,
            "Write name@sha256:digest, or image_by_tag = true on a laptop's cluster.",
        )
    if gpus is not None and gpus.mig is not None and gpus.resource != Gpus().resource:
        raise ConfigurationError(f"{where}: mig is NVIDIA's, the resource is", gpus.resource, "Leave one of them out.")


def _check_batch(made: ComputeProfile, where: str) -> None:
    BatchOptions.read(made.options, where=f"{where} {BATCH}")
    _check_growth(made, where)
    if made.image is not None:
        raise ConfigurationError(
            f"{where}: a Batch job cannot choose its image", made.image, "The job definition has it; leave image out."
        )
    if made.resources.shm_gib:
        raise ConfigurationError(
            f"{where}: a Batch job cannot choose its /dev/shm",
            f"{made.resources.shm_gib:g} GiB",
            "Set linuxParameters.sharedMemorySize in the job definition; leave shm_gib out.",
        )
    gpus = made.resources.gpus
    if gpus is not None and gpus != Gpus(count=gpus.count):
        raise ConfigurationError(
            f"{where}: a Batch job can choose the number of its GPUs only",
            ", ".join(key for key in ("mig", "memory_gib", "product") if getattr(gpus, key) is not None)
            or gpus.resource,
            "The queue's compute environment decides which; write gpus = 1.",
        )


def _check_growth(made: ComputeProfile, where: str) -> None:
    if made.max_memory_gib is not None and made.max_memory_gib < made.resources.memory_gib:
        raise ConfigurationError(
            f"{where}: max_memory_gib is below memory_gib", f"{made.max_memory_gib:g}", "Raise it, or leave it out."
        )
