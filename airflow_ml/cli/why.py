"""The verb ``why``: what made the cache hit or miss."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

from airflow_ml.cli.attempts import one_attempt
from airflow_ml.cli.output import print_json
from airflow_ml.cli.place import open_place
from airflow_ml.client import find_run, runs_until
from airflow_ml.core.cache_cause import cache_cause
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance
from airflow_ml.errors import NotPortable


def why(options: argparse.Namespace) -> int:
    """Compare the task's call with the most similar one before it."""
    store = open_place(options)
    run = find_run(options.dag, options.run, store=store, namespace=options.namespace)
    target = one_attempt(run, options.task, options.map_index)
    if target.call is None:
        raise NotPortable(f"{target.title} has no key", target.not_portable or target.operator, "Ask for a @task.ml.")
    cause = cache_cause(target.call, _before(target, store, options))
    nearest = f"{cause.nearest.run}, task {cause.nearest.title}" if cause.nearest is not None else ""
    if options.output == "json":
        print_json({"cache": target.cache or "off", "nearest": nearest, "changed": list(cause.changed)})
        return 0
    changed = f"changed since {nearest}: {', '.join(cause.changed)}" if cause.changed else f"the same call as {nearest}"
    none = f"no such task succeeded in the {options.runs} runs before"
    print(f"cache {target.cache or 'off'}: {changed if nearest else none}")
    return 0


def _before(target: Provenance, store: ArtifactStore, options: argparse.Namespace) -> Iterator[Provenance]:
    """Yield the task's attempts that ended before this one began, the latest first; each run is read when asked for."""
    begun = runs_until(target.dag, target.started_at, store=store, namespace=target.namespace)
    for run in itertools.islice(begun, options.runs):
        attempts = [item for item in run.attempts(target.task) if item.ended_at <= target.started_at]
        yield from sorted(attempts, key=lambda item: item.ended_at, reverse=True)
