"""Run DAGs one after the other through ``dag.test`` in this one process, and write down what became of them.

    python run_dags.py DAGS_FOLDER PLAN OUT

PLAN is JSON: a list of ``{"dag": id, "conf": {...}}``. OUT receives a list of ``{"dag", "state", "tasks", "xcoms"}``;
``tasks`` is ``{task: [state, ...]}`` with one state for each map index, ``xcoms`` is ``{task: {key: value}}``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select


def main(folder: Path, plan: list[dict[str, Any]], out: Path) -> None:
    bag = DagBag(folder)
    if bag.import_errors:
        sys.exit("\n".join(bag.import_errors.values()))
    out.write_text(json.dumps([run(bag.dags[one["dag"]], one.get("conf")) for one in plan]))


def run(dag: Any, conf: dict[str, Any] | None) -> dict[str, Any]:
    began = time.monotonic()
    ended = dag.test(logical_date=None, run_conf=conf)
    found: dict[str, Any] = {"dag": dag.dag_id, "state": str(ended.state), "tasks": {}, "xcoms": {}}
    with create_session() as session:
        for model, collect in ((TaskInstance, _task), (XComModel, _xcom)):
            where = (model.dag_id == dag.dag_id, model.run_id == ended.run_id)
            for row in session.scalars(select(model).where(*where).order_by(model.task_id, model.map_index)):
                collect(found, row)
    return {**found, "seconds": round(time.monotonic() - began, 1)}


def _task(found: dict[str, Any], row: Any) -> None:
    found["tasks"].setdefault(row.task_id, []).append(str(row.state))


def _xcom(found: dict[str, Any], row: Any) -> None:
    found["xcoms"].setdefault(row.task_id, {})[row.key] = XComModel.deserialize_value(row)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
