"""``@task.sweep`` builds plan -> shards -> collect, and is a plain function elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, task
from airflow.sdk.exceptions import AirflowFailException

import airflow_ml
from airflow_ml import LogUniform
from airflow_ml.errors import ConfigurationError

START = datetime(2024, 1, 1, tzinfo=UTC)


class Source(BaseOperator):
    def execute(self, context: Any) -> None: ...


def train(data: Any, params: Any, trial: Any = None, quick: bool = False) -> float:
    return float(data * params)


def sweep(**settings: Any) -> Any:
    return task.sweep(space={"a": LogUniform(0.1, 1.0)}, **{"minimize": "loss", **settings})(train)


def test_outside_a_dag_it_is_the_plain_function() -> None:
    assert sweep()(2, 3) == 6.0


def test_group_of_four_tasks() -> None:
    with DAG("d", start_date=START) as dag:
        source, start, end = Source(task_id="source"), Source(task_id="start"), Source(task_id="end")
        board = sweep()(source.output, quick=True)
        start >> board >> end
    names = {"plan", "shards", "collect", "track"}
    assert set(dag.task_ids) == {"source", "start", "end", *(f"train.{name}" for name in names)}
    assert dag.get_task("train.track").upstream_task_ids == {"train.collect"}
    assert dag.get_task("train.plan").upstream_task_ids == {"source", "start"}
    assert dag.get_task("train.shards").upstream_task_ids == {"train.plan"}
    assert dag.get_task("train.collect").upstream_task_ids == {"train.plan", "train.shards"}
    assert dag.get_task("end").upstream_task_ids == {"train.collect"}


def test_collect_says_that_there_is_no_plan() -> None:
    """A gate that blocks leaves the plan undone; ``collect`` runs all the same."""

    class NothingPushed:
        dag_id, run_id, task_id = "d", "r", "train.collect"

        def xcom_pull(self, *, default: Any, **_: Any) -> Any:
            return default

    with DAG("d", start_date=START) as dag:
        sweep()(Source(task_id="source").output)
    collect = dag.get_task("train.collect")
    context: Any = {"ti": NothingPushed()}
    collect.render_template_fields(context)
    with pytest.raises(AirflowFailException, match=r"no plan to collect: .* did not succeed. Fix the task"):
        collect.execute(context)


def test_without_mlflow_nothing_is_tracked() -> None:
    with DAG("d", start_date=START) as dag:
        sweep(mlflow_conn_id=None)(Source(task_id="source").output)
    assert "train.track" not in dag.task_ids


def test_board_set_upstream_orders_the_plan() -> None:
    with DAG("d", start_date=START) as dag:
        source, start = Source(task_id="source"), Source(task_id="start")
        board = sweep()(source.output)
        board << start
    assert dag.get_task("train.plan").upstream_task_ids == {"source", "start"}


def test_a_function_of_a_module() -> None:
    with DAG("d", start_date=START) as dag:
        board = airflow_ml.sweep(
            train, Source(task_id="source").output, space={"a": LogUniform(0.1, 1.0)}, minimize="loss",
            constants={"quick": True}, task_id="search",
        )  # fmt: skip
    assert dag.get_task("search.plan").upstream_task_ids == {"source"}
    assert dag.get_task("search.plan").constants == {"quick": True}
    assert board.operator.task_id == "search.collect"


def test_retries_go_to_the_shards() -> None:
    with DAG("d", start_date=START) as dag:
        sweep(retries=3, pool="gpus")(Source(task_id="source").output)
    assert dag.get_task("train.shards").partial_kwargs["retries"] == 3
    assert {dag.get_task(f"train.{name}").pool for name in ("plan", "collect", "track")} == {"gpus"}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"minimize": None}, id="no metric"),
        pytest.param({"maximize": "auc"}, id="two metrics"),
        pytest.param({"trails_per_group": 3}, id="misspelt"),
    ],
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        sweep(**settings)


def test_wrong_signature() -> None:
    with pytest.raises(ConfigurationError, match="data, params"):
        task.sweep(space={"a": LogUniform(0.1, 1.0)}, minimize="loss")(lambda frame, config: 0.0)


def test_called_without_data() -> None:
    with DAG("d", start_date=START), pytest.raises(ConfigurationError, match="called with its data"):
        sweep()()


@pytest.mark.parametrize("constants", [{"quik": True}, {"trial": 3}])
def test_a_constant_that_the_function_does_not_take(constants: dict[str, Any]) -> None:
    with (
        DAG("d", start_date=START),
        pytest.raises(ConfigurationError, match=f"not among them: {next(iter(constants))}"),
    ):
        sweep()(Source(task_id="source").output, **constants)


def test_a_constant_that_is_not_given() -> None:
    def needs(data: Any, params: Any, trial: Any, depth: int, **others: Any) -> float:
        return 0.0

    needing = task.sweep(space={"a": LogUniform(0.1, 1.0)}, minimize="loss")(needs)
    with DAG("d", start_date=START), pytest.raises(ConfigurationError, match="not given: depth"):
        needing(Source(task_id="source").output, width=3)
