"""The compute profiles of this deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from airflow.sdk import conf

if TYPE_CHECKING:
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.record import JSON


def profiles_path() -> str:
    """Return ``[ml] compute_profiles``; empty for none."""
    return str(conf.get("ml", "compute_profiles", fallback=""))


def compute_profiles() -> dict[str, ComputeProfile]:
    """Return all profiles of the deployment's file, by name; none without one.

    Raises:
        ConfigurationError: the file cannot work.
    """
    from airflow_ml.runtime.compute_profiles import read_profiles

    path = profiles_path()
    return (read_profiles(path) if path else None) or {}


def compute_profile(compute: str | Mapping[str, JSON], *, log: Callable[[str], object] | None = None) -> ComputeProfile:
    """Return the profile that a task's ``compute`` means; see `airflow_ml.runtime.compute_profiles.compute_profile`.

    Raises:
        ConfigurationError: no such profile, an override that cannot work, or a file that cannot.
    """
    from airflow_ml.runtime.compute_profiles import compute_profile as meant  # not while a DAG file is parsed

    return meant(compute, path=profiles_path(), log=log)
