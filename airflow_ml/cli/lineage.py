"""The verb ``lineage``: what a result was made from, and what was made from it."""

from __future__ import annotations

import argparse

from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.client import runs
from airflow_ml.core.lineage import Lineage
from airflow_ml.errors import ConfigurationError


def lineage(options: argparse.Namespace) -> int:
    """Print the records up or down from a digest or a model, with the tasks that made them."""
    if options.up and options.down:
        raise ConfigurationError("Both directions are given", "--up and --down", "Ask for one at a time.")
    store = open_place(options)
    known = runs(store=store, namespace=options.namespace)
    graph = Lineage(item for run in known for item in run.attempts())
    digest = graph.find(options.what)
    steps = graph.down(digest) if options.down else graph.up(digest)
    print_rows(
        options,
        [
            {
                "depth": step.depth,
                "record": step.record,
                "digest": step.digest,
                "dag": step.made_by.dag,
                "run": step.made_by.run,
                "task": step.made_by.title,
                "commit": step.made_by.git.commit[:12],
            }
            for step in steps
        ],
    )
    return 0
