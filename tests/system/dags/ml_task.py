"""@task.ml in all the ways in which a task can be used."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task, task_group

TRIES: list[int] = []


@task
def plain_numbers() -> list[int]:
    return [1, 2, 3]


@task.ml
def frames(numbers: list[int]) -> list:
    """Called by the DAG; one artifact for each frame."""
    import pandas as pd

    return [pd.DataFrame({"a": [number, number]}) for number in numbers]


@task.ml(seed=3)
def scaled(frame, by, name="x"):
    return frame.assign(a=frame["a"] * by, name=name)


@task.ml
def joined(parts, run_id=None, ds_nodash=None):
    """What all instances of a mapped task gave arrives loaded."""
    import pandas as pd

    return {"rows": len(pd.concat(parts)), "sum": int(sum(part["a"].sum() for part in parts)), "run_id": run_id}


@task.ml(multiple_outputs=True)
def halves(frame):
    return {"head": frame.head(1), "tail": frame.tail(1), "rows": len(frame)}


@task
def plain_reader(value, head):
    """A plain task gets records as JSON, and reads what they stand for."""
    import airflow_ml

    return [airflow_ml.read(value)["sum"], airflow_ml.load(head).format, len(airflow_ml.read(head))]


@task.ml(retries=1, retry_delay=0)
def flaky(value):
    import os
    import pathlib

    mark = pathlib.Path(os.environ["AIRFLOW_HOME"]) / "tried"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("not at first")
    return value


@task.ml
def rendered(text):
    return text


@task.ml
def long_list() -> dict:
    return {"numbers": list(range(20_000))}


@task.ml(compute="local", cache=True)
def counted(numbers):
    return len(numbers)


@task.ml
def one():
    import pandas as pd

    return pd.DataFrame({"a": [1]})


@task.ml(trigger_rule="all_done")
def never(frame):
    return "mapped"


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC))
def ml_task():
    parts, single = frames(plain_numbers()), one()
    mapped = scaled.partial(by=10).expand(frame=parts)
    named = scaled.override(task_id="named").partial(frame=single).expand_kwargs([{"by": 2, "name": "y"}])

    @task_group
    def inside():
        total = joined(mapped)
        split = halves(scaled.override(task_id="again")(frame=single, by=5))
        return total, split

    total, split = inside()
    plain_reader(total, split["head"])
    flaky(split["rows"])
    rendered("{{ run_id }}") << named
    numbers = long_list()
    counted(numbers["numbers"])
    counted.override(task_id="counted_again")(numbers["numbers"])


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC))
def ml_mapped_over_one():
    never.expand(frame=one())


ml_task()
ml_mapped_over_one()
