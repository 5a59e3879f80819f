"""The verb ``lineage``: what a result was made from, and what was made from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.client import runs
from airflow_ml.core.lineage import Lineage
from airflow_ml.core.lineage_picture import lineage_picture
from airflow_ml.errors import ArtifactNotFound, ConfigurationError


def lineage(options: argparse.Namespace) -> int:
    """Print the records up or down from a digest or a model, with the tasks that made them."""
    if options.up and options.down:
        raise ConfigurationError("Both directions are given", "--up and --down", "Ask for one at a time.")
    store = open_place(options)
    known = runs(store=store, namespace=options.namespace, limit=options.runs)
    graph = Lineage(item for run in known for item in run.attempts())
    try:
        digest = graph.find(options.what)
    except ArtifactNotFound as error:
        if len(known) < options.runs:
            raise
        where = f"{options.what}, in the newest {options.runs} runs"
        raise ArtifactNotFound(error.what, where, f"Give --runs to look further back. {error.remedy}") from None
    steps = list(graph.down(digest) if options.down else graph.up(digest))
    if options.graph is not None:
        title = f"{'What was made from' if options.down else 'What made'} {options.what}"
        Path(options.graph).write_text(lineage_picture(steps, graph.edges(steps), title=title), encoding="utf-8")
        print(f"{options.graph}: {len(steps)} records", file=sys.stderr)
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
