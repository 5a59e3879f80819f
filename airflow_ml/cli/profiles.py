"""The verb ``compute``: which compute profiles this deployment has; and how other verbs find one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_ml.cli.output import print_json, print_rows
from airflow_ml.core.strict_fields import plain_fields

if TYPE_CHECKING:
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.record import JSON


def compute(options: argparse.Namespace) -> int:
    """Print all profiles in a line each, or one of them with every option."""
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.compute_choice import LOCAL, WORKER
    from airflow_ml.runtime.compute_profiles import read_profiles

    path = profiles_path()
    if options.name is not None:
        _print_one(options, profile_meant(options.name))
        return 0
    read = read_profiles(path) if path else None
    built_in = {name: ComputeProfile(name=name, kind=name) for name in (WORKER, LOCAL)}
    rows = [_row(one) for one in (built_in | (read or {})).values()]
    print_rows(options, rows)
    if read is None and options.output != "json":
        why = f"{path} does not exist" if path else "[ml] compute_profiles is empty"
        print(f"\nEvery other name means the worker's own processes: {why}.")
    return 0


def profiles_path() -> str:
    """Return the path of the profile file; empty for none."""
    return os.environ.get("AIRFLOW_ML_COMPUTE_PROFILES") or os.environ.get("AIRFLOW__ML__COMPUTE_PROFILES", "")


def profile_meant(compute: str | Mapping[str, JSON]) -> ComputeProfile:
    """Return the profile that a name means in this deployment.

    Raises:
        ConfigurationError: there is none, or it cannot work.
    """
    from airflow_ml.runtime.compute_profiles import compute_profile

    return compute_profile(compute, path=profiles_path(), log=lambda line: print(line, file=sys.stderr))


def _row(profile: ComputeProfile) -> dict[str, Any]:
    wanted, kind = profile.resources, profile.kind
    there = kind in ("kubernetes", "batch")
    gpus = wanted.gpus
    what = (gpus.mig or gpus.product or (f">= {gpus.memory_gib} GiB" if gpus.memory_gib else "")) if gpus else ""
    return {
        "profile": profile.name,
        "kind": kind,
        "cpus": f"{wanted.cpus:g}" if there else None,
        "memory_gib": f"{wanted.memory_gib:g}" if there else None,
        "gpus": f"{gpus.count} {what}".strip() if gpus else None,
        "parallelism": profile.parallelism if there else None,
        "timeout_seconds": f"{profile.timeout_seconds:g}" if profile.timeout_seconds else None,
        "where": profile.options.get("namespace", "default") if kind == "kubernetes" else profile.options.get("queue"),
    }


def _print_one(options: argparse.Namespace, profile: ComputeProfile) -> None:
    from airflow_ml.core.batch_request import batch_options
    from airflow_ml.core.pod_template import kubernetes_options

    readers: dict[str, Any] = {"kubernetes": kubernetes_options, "batch": batch_options}
    own = readers[profile.kind](profile) if profile.kind in readers else None
    flat = plain_fields(profile)
    resources: Any = flat.pop("resources")
    del flat["options"]
    whole = {**flat, **resources, **({profile.kind: plain_fields(own)} if own is not None else {})}
    if options.output == "json":
        print_json(whole)
        return
    for name, value in whole.items():
        if name == profile.kind and isinstance(value, dict):
            print(f"\n{name}")
            for inner, one in value.items():
                print(f"  {inner} = {_text(one)}")
        else:
            print(f"{name} = {_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(one)}" for key, one in value.items() if one is not None) or "none"
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
