"""The verb ``doctor``: whether a deployment or a profile's jobs could run now, and what is missing; or their rights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from airflow_ml.cli.output import print_json, print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.cli.profiles import profile_meant, profiles_path
from airflow_ml.cli.render import as_yaml
from airflow_ml.core.compute_choice import BATCH, KUBERNETES
from airflow_ml.core.finding import MISSING, Finding, missing, present
from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.ports import JobBackend

#: Exit code when something is missing.
EXIT_MISSING = 4


#: Set by ``airflow ml``: looks at the connections, which ``airflow-ml`` does not know.
airflow_side: Callable[[], Iterator[Finding]] | None = None


def doctor(options: argparse.Namespace) -> int:
    """Print what was found, in the order in which a job would meet it.

    Raises:
        ConfigurationError: a probe without a profile.
    """
    if options.probe and not options.compute:
        raise ConfigurationError("A probe needs a place to run", "--probe without --compute", "Give --compute NAME.")
    profile = profile_meant(options.compute) if options.compute else None
    if options.policy:
        _print_policies(options, profile)
        return 0
    found = list(_examine(options, profile) if profile is not None else _examine_deployment(options))
    if options.output == "json":
        print_json([{"check": one.check, "state": one.state, "seen": one.seen, "remedy": one.remedy} for one in found])
    else:
        print_rows(options, [{"check": one.check, "state": one.state, "seen": one.seen} for one in found])
        for one in found:
            if one.remedy and one.state == MISSING:
                print(f"\n{one.check}: {one.seen}\n  {one.remedy}")
    return EXIT_MISSING if any(one.state == MISSING for one in found) else 0


def _examine_deployment(options: argparse.Namespace) -> Iterator[Finding]:
    from airflow_ml.runtime.compute_profiles import read_profiles
    from airflow_ml.runtime.installation import examine_installation
    from airflow_ml.runtime.store_reach import examine_store_here

    yield from examine_installation()
    yield examine_store_here(lambda: open_place(options), uri=options.store or "no store")
    path = profiles_path()
    try:
        profiles = read_profiles(path) if path else None
    except ConfigurationError as error:
        yield missing("compute profiles", f"{error.what}: {error.actual}", error.remedy)
    else:
        names = ", ".join(profiles) if profiles is not None else "none: every name means the worker's own processes"
        yield present("compute profiles", names)
    if airflow_side is not None:
        yield from airflow_side()


def _examine(options: argparse.Namespace, profile: ComputeProfile) -> Iterator[Finding]:
    from airflow_ml.errors import BackendUnavailable
    from airflow_ml.runtime.store_reach import examine_store

    yield present("profile", f"{profile.name}, of kind {profile.kind}")
    yield from examine_store(lambda: open_place(options), profile, uri=options.store or "no store")
    try:
        if profile.kind == KUBERNETES:
            yield from _examine_cluster(options, profile)
        elif profile.kind == BATCH:
            yield from _examine_batch(options, profile)
        else:
            yield _gpus_here()
    except BackendUnavailable as error:
        yield missing("connection", f"{error.what}: {error.actual}", error.remedy)


def _examine_cluster(options: argparse.Namespace, profile: ComputeProfile) -> Iterator[Finding]:
    from airflow_ml.adapters.kubernetes import KubernetesJobs
    from airflow_ml.adapters.kubernetes_connection import open_cluster
    from airflow_ml.adapters.kubernetes_doctor import examine_cluster

    api = open_cluster(options.context)
    yield from examine_cluster(api, profile, store_uri=options.store)
    if options.probe:
        yield from _probe(options, profile, KubernetesJobs(api))


def _examine_batch(options: argparse.Namespace, profile: ComputeProfile) -> Iterator[Finding]:
    from airflow_ml.adapters.batch import BatchJobs
    from airflow_ml.adapters.batch_api import BatchApi
    from airflow_ml.adapters.batch_connection import open_batch
    from airflow_ml.adapters.batch_doctor import examine_batch
    from airflow_ml.core.batch_request import batch_options

    client = open_batch(batch_options(profile).region)
    yield from examine_batch(client("batch"), profile)
    if options.probe:
        yield from _probe(options, profile, BatchJobs(BatchApi(client)))


def _probe(options: argparse.Namespace, profile: ComputeProfile, backend: JobBackend) -> Iterator[Finding]:
    from airflow_ml.runtime.probe import probe

    yield from probe(
        profile,
        store=open_place(options),
        backend=backend,
        timeout_seconds=options.timeout,
        log=lambda line: print(f"the call there is {line}", file=sys.stderr),
    )


def _gpus_here() -> Finding:
    from pathlib import Path

    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return present("GPUs of this machine", ", ".join(devices) or "none; calls run on the CPU")


def _print_policies(options: argparse.Namespace, profile: ComputeProfile | None) -> None:
    from airflow_ml.adapters.kubernetes_doctor import POD_RIGHTS, QUEUE_RIGHTS, RIGHTS
    from airflow_ml.core.batch_request import batch_options
    from airflow_ml.core.pod_template import kubernetes_options
    from airflow_ml.core.policies import batch_policy, kubernetes_role, snowflake_grants, store_policy

    if profile is not None and profile.kind == KUBERNETES:
        print("# For the account of workers and triggerer, here airflow:airflow-worker. The pods need no rights.")
        own, account = kubernetes_options(profile), "airflow:airflow-worker"
        queue = QUEUE_RIGHTS if own.kueue_queue is not None else ()
        for manifest in kubernetes_role(own, (*RIGHTS, *queue), account=account):
            print(f"---\n{as_yaml(manifest)}", end="")
        print("---\n# Only where DAGs use GpuPodOperator")
        print(
            *map(as_yaml, kubernetes_role(own, POD_RIGHTS, account=account, role="airflow-ml-pods")),
            sep="---\n",
            end="",
        )
    if profile is not None and profile.kind == BATCH:
        print("# IAM, for the role of workers and triggerer")
        print_json(batch_policy(batch_options(profile)))
    store = store_policy(options.store)
    if store is not None:
        print("\n# IAM, for whoever uses the store: workers, triggerer, and what pods or jobs run as")
        print_json(store)
    print("\n-- Snowflake")
    print("\n".join(snowflake_grants()))
