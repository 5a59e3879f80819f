"""The deployment's profile file, and what a task's ``compute`` means by it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from airflow_ml.core.compute import ComputeProfile, named_profile, profile_from_dict
from airflow_ml.core.compute_choice import WORKER, split_compute
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError


def read_profiles(path: str | Path) -> dict[str, ComputeProfile] | None:
    """Return the profiles of a TOML file by name, checked; None where there is no such file.

    Raises:
        ConfigurationError: the file is there and cannot be read, is not TOML, or a profile in it cannot work.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("The compute profiles cannot be read", f"{path}: {error}", "Fix the file.") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError("The compute profiles are not TOML", f"{path}: {error}", "Fix that line.") from error
    return {name: profile_from_dict(name, table, source=str(path)) for name, table in tables.items()}


def compute_profile(
    compute: str | Mapping[str, JSON], *, path: str, log: Callable[[str], object] | None = None
) -> ComputeProfile:
    """Return the profile that a task's ``compute`` means in this deployment.

    Without a profile file every name but ``worker`` means ``local``, and the log says so.

    Args:
        compute: A name, or what `airflow_ml.profile` returned.
        path: Of the profile file; empty for none.
        log: Where to say that a name means ``local`` because there is no file.

    Raises:
        ConfigurationError: no such profile, an override that cannot work, or a file that cannot.
    """
    profiles = read_profiles(path) if path else None
    if profiles is not None:
        return named_profile(compute, profiles)
    name, overrides = split_compute(compute)
    known = {} if name == WORKER else {name: ComputeProfile(name=name)}
    if log is not None and known and name != ComputeProfile(name=name).kind:
        why = f"{path} does not exist" if path else "[ml] compute_profiles is empty"
        log(f"Compute {name!r} means the worker's own processes here: {why}")
    return named_profile({"profile": name, **overrides} if overrides else name, known)
