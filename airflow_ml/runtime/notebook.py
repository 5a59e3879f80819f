"""A notebook that loads what a task was given, to look at it and to run its function again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_ml.core.call import FunctionRef
from airflow_ml.core.code_text import code_texts
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance
from airflow_ml.core.record import JSON
from airflow_ml.core.trials import TrialResult
from airflow_ml.runtime.recorded_trial import RecordedTrial


def task_notebook(source: Provenance, store: ArtifactStore, *, store_uri: str) -> dict[str, JSON]:
    """Return a notebook (format 4.5) for one task.

    Args:
        source: The attempt.
        store: Where its code is; only read.
        store_uri: The address that the notebook opens; it holds no credentials.
    """
    return _notebook(_cells(source, store, store_uri))


def trial_notebook(trial: RecordedTrial, task: str, *, store_uri: str) -> dict[str, JSON]:
    """Return a notebook for one trial of a sweep.

    Args:
        trial: The trial.
        task: The sweep's group.
        store_uri: As of `task_notebook`.
    """
    return _notebook(_trial_cells(trial, task, store_uri))


def _notebook(written: Iterable[tuple[str, str]]) -> dict[str, JSON]:
    cells = [
        {"id": f"cell-{number}", "metadata": {}, "source": text, **_kind(kind)}
        for number, (kind, text) in enumerate(written)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook: dict[str, Any] = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return notebook


def _kind(kind: str) -> dict[str, Any]:
    return {"cell_type": kind, **({"execution_count": None, "outputs": []} if kind == "code" else {})}


def _cells(source: Provenance, store: ArtifactStore, store_uri: str) -> Iterator[tuple[str, str]]:
    yield "markdown", _heading(source)
    where = f"{source.dag!r}, {source.run!r}, store={store_uri!r}, namespace={source.namespace!r}"
    yield (
        "code",
        (
            "import airflow_ml\n"
            "from airflow_ml.client import find_run\n\n"
            f"task = find_run({where})[{source.title!r}]\n"
            "task.provenance.outcome, task.provenance.error"
        ),
    )
    if source.call is None:
        for number, handle in enumerate(source.inputs):
            name = f"input_{number}"
            read = f"{name} = airflow_ml.read(task.inputs[{number}], store=task.store)"
            yield "code", f"# {handle.name}: {handle.record}\n{read}\n{name}"
        return
    yield (
        "code",
        "arguments = task.arguments()  # as the task was given them\nlist(arguments)",
    )
    for name in source.call.arguments:
        yield "code", f"{name} = arguments[{name!r}]\n{name}"
    yield from _code_cells(source.call.function, store)
    yield (
        "code",
        (
            "# The function again, here. Arguments by name replace those of the task: task.again(limit=10)\n"
            "result = task.again()\nresult"
        ),
    )


def _trial_cells(trial: RecordedTrial, task: str, store_uri: str) -> Iterator[tuple[str, str]]:
    source, name = trial.source, trial.planned.trial
    title = f"trial {name} of {trial.plan.function.qualname}, group {trial.planned.group}"
    yield "markdown", f"# {title}\n\nRun `{source.run}` of `{source.dag}`.\n\n{_outcome(trial.result)}"
    where = f"{source.dag!r}, {source.run!r}, store={store_uri!r}, namespace={source.namespace!r}"
    found = f"trial = find_run({where}).trial({task!r}, {name!r})\ntrial.planned.params, trial.result.metrics"
    yield "code", f"import airflow_ml\nfrom airflow_ml.client import find_run\n\n{found}"
    yield (
        "code",
        "given = trial.arguments()  # as the trial was given them\n"
        'data, params = given["data"], given["params"]\nparams',
    )
    yield "code", "data.train.X.head()"
    yield from _code_cells(trial.plan.function, trial.store)
    yield (
        "code",
        "# The trial again, here. Arguments by name replace its own: trial.again(params={...})\n"
        "result = trial.again()\nresult",
    )


def _outcome(result: TrialResult) -> str:
    shown = ", ".join(f"{name} {value:.6g}" for name, value in result.metrics.items()) or result.reason
    return f"- {result.status}, {result.seconds:.1f} s\n- {shown}"


def _code_cells(function: FunctionRef, store: ArtifactStore) -> Iterator[tuple[str, str]]:
    if function.package is not None:
        for name, text in code_texts(json.loads(store.get_bytes(function.package))).items():
            yield "markdown", f"`{name}`, as it ran:\n\n```python\n{text.rstrip()}\n```"


def _heading(source: Provenance) -> str:
    facts = [
        f"{source.outcome}, {source.started_at:%Y-%m-%d %H:%M} UTC, {source.seconds:.1f} s",
        f"commit {source.git.commit} on {source.git.branch}, changed: {source.git.dirty}",
        f"Python {source.python}, {source.cpus} CPUs",
    ]
    error = f"\n\n    {source.error}" if source.error else ""
    lines = "\n".join(f"- {fact}" for fact in facts)
    return f"# {source.title} of {source.dag}\n\nRun `{source.run}`.\n\n{lines}{error}"
