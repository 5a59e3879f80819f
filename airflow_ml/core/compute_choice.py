"""A task's ``compute`` argument: a profile's name, with or without changes. Profiles are in ``core/compute.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.record import JSON

#: In the task's process; in processes beside it; as pods; as jobs of AWS Batch.
WORKER, LOCAL, KUBERNETES, BATCH = "worker", "local", "kubernetes", "batch"
KINDS = (WORKER, LOCAL, KUBERNETES, BATCH)
#: Pause between looks at one job that runs elsewhere.
POLL_SECONDS = 15.0


def split_compute(compute: object) -> tuple[str, dict[str, JSON]]:
    """Return the name and the overrides in a task's ``compute``.

    Raises:
        ConfigurationError: it is neither a name nor what `profile` returns.
    """
    if isinstance(compute, str):
        return compute, {}
    if isinstance(compute, Mapping) and isinstance(compute.get("profile"), str):
        return str(compute["profile"]), {str(key): value for key, value in compute.items() if key != "profile"}
    raise ConfigurationError(
        "compute is not a profile", repr(compute)[:120], 'Give its name, or profile("name", cpus=4) for changes.'
    )
