"""The verb ``notebook``: a notebook that loads what a task, or a trial of a sweep, was given."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from airflow_ml.cli.attempts import attempts_of, one_attempt
from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.client import find_run
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.notebook import task_notebook, trial_notebook
from airflow_ml.runtime.recorded_trial import find_trial


def notebook(options: argparse.Namespace) -> int:
    """Write the notebook of one task, or of one trial of a sweep, and print its path."""
    store = open_place(options)
    run = find_run(options.dag, options.run, store=store, namespace=options.namespace)
    if options.trial is None:
        source = one_attempt(run, options.task, options.map_index)
        title, made = source.title, task_notebook(source, store, store_uri=options.store)
    else:
        trial = find_trial(attempts_of(run, options.task, options.map_index), options.trial, store)
        title = f"{options.task}-{trial.planned.trial}"
        made = trial_notebook(trial, options.task, store_uri=options.store)
    file = Path(options.into or f"{run.dag}-{title}.ipynb")
    if file.exists() and not options.force:
        raise ConfigurationError("There is a file of that name", str(file), "Give --into, or --force to replace it.")
    file.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print_rows(options, [{"notebook": str(file), "task": title, "run": run.run}])
    return 0
