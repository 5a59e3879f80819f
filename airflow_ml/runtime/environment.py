"""The environment of a call: what identifies it, and which of the caller's variables a runner may see."""

from __future__ import annotations

import functools
import os
import platform
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.processes import MARKER

_NAMES = frozenset(
    {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE"}
    | {"SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"}
)
_PREFIXES = ("LC_", "PYTHON", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "HF_HUB_OFFLINE", "COVERAGE_")
#: It runs a file of the user's at each start.
_NEVER = frozenset({"PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONBREAKPOINT"})
#: What the client of each kind of store reads.
_STORE_PREFIXES = {"s3": ("AWS_",), "gs": ("GOOGLE_", "CLOUDSDK_"), "abfs": ("AZURE_",), "az": ("AZURE_",)}
_FIXED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "PYTHONUNBUFFERED": "1",
    # Threads that wait for each other must not spin: on a shared machine that makes a fit of seconds take minutes.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def describe_environment() -> dict[str, JSON]:
    """Return Python's version, the architecture, and all installed distributions with their versions."""
    found: dict[str, JSON] = {}
    for item in distributions():
        name = item.metadata["Name"]
        if name:
            found.setdefault(name.lower().replace("_", "-"), item.version)  # the first one found is the one imported
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "machine": platform.machine(),
        "system": platform.system(),
        "distributions": {name: found[name] for name in sorted(found)},
    }


@functools.cache
def environment_digest() -> str:
    """Return the digest of this process's environment, as calls and sweeps carry it."""
    return digest_json(environment_description())


@functools.cache
def environment_description() -> dict[str, JSON]:
    """Return what `describe_environment` does, from this machine's cache where nothing was installed since.

    Reading the metadata of 285 distributions takes 0.3 s, and every task is a new process.
    """
    from airflow_ml.runtime.environment_cache import cached_description

    return cached_description(describe_environment)


def runner_environment(
    environment: Mapping[str, str],
    *,
    store_uri: str,
    scratch: Path,
    marker: str,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the variables of a runner: an allow-list, so that no connection and no secret of Airflow's reaches it.

    Args:
        environment: The caller's variables.
        store_uri: Address of the store; variables of its client pass only where it needs them.
        scratch: Folder for temporary files, removed at the end.
        marker: Names this runner's processes.
        extra: Further variables, from the compute profile.

    Raises:
        ConfigurationError: ``extra`` would pass Airflow's configuration or connections.
    """
    refused = sorted(name for name in extra or {} if name.upper().startswith("AIRFLOW_") and name != MARKER)
    if refused:
        raise ConfigurationError(
            "User code must not see Airflow's settings", ", ".join(refused), "Leave them out of the environment."
        )
    allowed = allowed_environment(environment, store_uri=store_uri)
    return {**allowed, "TMPDIR": str(scratch), MARKER: marker, **(extra or {})}


def environment_of_another(environment: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return a runner's variables for another interpreter: it imports this package, and its own distributions.

    Args:
        environment: What `runner_environment` gave.
        scratch: Folder in which a link to this package is made.
    """
    place = scratch / "import"
    place.mkdir()
    (place / "airflow_ml").symlink_to(Path(__file__).resolve().parents[1])
    kept = {name: value for name, value in environment.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    return {**kept, "PYTHONPATH": str(place)}


def allowed_environment(environment: Mapping[str, str], *, store_uri: str) -> dict[str, str]:
    """Return the variables that any process with user code or models may see, a runner or a gateway's model process.

    Args:
        environment: The caller's variables.
        store_uri: Address of the store; variables of its client pass only where it needs them.
    """
    prefixes = (*_PREFIXES, *_STORE_PREFIXES.get(store_uri.partition(":")[0], ()))
    allowed = {
        name: value
        for name, value in environment.items()
        if (name in _NAMES or name.startswith(prefixes)) and name not in _NEVER
    }
    paths = [*_project_path(), *filter(None, [allowed.get("PYTHONPATH")])]
    if paths:
        allowed["PYTHONPATH"] = os.pathsep.join(paths)
    return {**allowed, **_FIXED}


def _project_path() -> list[str]:
    """Return the folder of this package where it is not installed, so that the runner imports the same one."""
    folder = Path(__file__).resolve().parents[2]
    installed = {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")}
    return [] if folder in installed else [str(folder)]
