"""The verb ``why``: what made the cache hit or miss."""

from __future__ import annotations

import argparse

from airflow_ml.cli.attempts import one_attempt
from airflow_ml.cli.output import print_json
from airflow_ml.cli.place import open_place
from airflow_ml.client import find_run, runs
from airflow_ml.core.cache_cause import cache_cause
from airflow_ml.core.provenance import Provenance
from airflow_ml.errors import NotPortable


def why(options: argparse.Namespace) -> int:
    """Compare the task's call with the most similar one before it."""
    store = open_place(options)
    run = find_run(options.dag, options.run, store=store, namespace=options.namespace)
    target = one_attempt(run, options.task, options.map_index)
    if target.call is None:
        raise NotPortable(f"{target.title} has no key", target.not_portable or target.operator, "Ask for a @task.ml.")
    known = runs(options.dag, store=store, namespace=options.namespace)
    earlier = [item for one in known for item in one.attempts() if _is_before(item, target)]
    cause = cache_cause(target.call, earlier)
    nearest = f"{cause.nearest.run}, task {cause.nearest.title}" if cause.nearest is not None else ""
    if options.output == "json":
        print_json({"cache": target.cache or "off", "nearest": nearest, "changed": list(cause.changed)})
        return 0
    changed = f"changed since {nearest}: {', '.join(cause.changed)}" if cause.changed else f"the same call as {nearest}"
    print(f"cache {target.cache or 'off'}: {changed if nearest else 'no such task succeeded before'}")
    return 0


def _is_before(item: Provenance, target: Provenance) -> bool:
    return item.task == target.task and item.ended_at <= target.started_at
