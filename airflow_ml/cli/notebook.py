"""The verb ``notebook``: a notebook that loads what a task was given."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from airflow_ml.cli.attempts import one_attempt
from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.client import find_run
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.notebook import task_notebook


def notebook(options: argparse.Namespace) -> int:
    """Write the notebook of one task and print its path."""
    store = open_place(options)
    run = find_run(options.dag, options.run, store=store, namespace=options.namespace)
    source = one_attempt(run, options.task, options.map_index)
    file = Path(options.into or f"{source.dag}-{source.title}.ipynb")
    if file.exists() and not options.force:
        raise ConfigurationError("There is a file of that name", str(file), "Give --into, or --force to replace it.")
    made = task_notebook(source, store, store_uri=options.store)
    file.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print_rows(options, [{"notebook": str(file), "task": source.title, "run": source.run}])
    return 0
