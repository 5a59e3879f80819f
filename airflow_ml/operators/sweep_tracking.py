"""Stage 4, sweep: logs a finished sweep to MLflow; nothing waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.record import parse_as
from airflow_ml.errors import ConfigurationError, RegistryError, RegistryUnavailable
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, task_names

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.sweep import Leaderboard

#: Best trials that become runs of their own; all of them are in the leaderboard.
TRACKED_TRIALS = 5
#: All of them.
ALL_TRIALS = "all"
#: Tries while MLflow is away, and the pause between two: it may be away for half an hour.
RETRIES, RETRY_DELAY = 30, timedelta(minutes=1)


class TrackSweepOperator(MLOperator):
    """Log a sweep to MLflow as one run with its leaderboard and pictures, and its best trials as child runs.

    It logs the leaderboard in the store, so MLflow may be down while trials run. If it is down now, Airflow tries again
    each minute, for half an hour; after that, or if the server refuses, the task is skipped with a warning. It never
    fails, and nothing that follows the sweep waits for it.

    Retry, clear: logs what is missing; no run is created twice. Kill, timeout: what is logged stays.

    Args:
        leaderboard: The `Leaderboard` (templated).
        mlflow_conn_id: Airflow connection of MLflow (templated). Its experiment, else the DAG's name, holds the runs.
        tracked_trials: How many of the best trials become child runs, or ``all`` (templated). Each takes three
            requests; with ``all``, four writers share them, and 20,000 trials take the better part of an hour on
            MLflow's SQLite. Default 5.
    """

    template_fields: Sequence[str] = ("leaderboard", "mlflow_conn_id", "tracked_trials")
    ui_color = "#ede9fe"
    argument_rules = {
        "leaderboard": rules.record("Leaderboard"),
        "mlflow_conn_id": rules.text(),
        "tracked_trials": rules.number(least=0, whole=True, words=(ALL_TRIALS,)),
    }

    def __init__(
        self,
        *,
        leaderboard: Any,
        mlflow_conn_id: str = MLflowHook.default_conn_name,
        tracked_trials: int | str = TRACKED_TRIALS,
        task_id: str = "track",
        **kwargs: Any,
    ) -> None:
        kwargs = {"retries": RETRIES, "retry_delay": RETRY_DELAY, **kwargs}
        super().__init__(task_id=task_id, **kwargs)
        self.leaderboard = plain(leaderboard)
        self.mlflow_conn_id = mlflow_conn_id
        self.tracked_trials = tracked_trials
        self.check_arguments()

    def run(self, context: Context) -> str:
        """Log the sweep and return the id of its run."""
        from airflow_ml.core.sweep import Leaderboard

        board = parse_as(Leaderboard, self.leaderboard)
        try:
            run_id = self._log(context, board)
        except RegistryUnavailable as error:
            if _more_tries(context):
                raise
            raise AirflowSkipException(f"The sweep is not in MLflow: {error} Clear this task to log it.") from error
        except (RegistryError, ConfigurationError) as error:
            self.log.warning("The sweep is not in MLflow: %s", error)
            raise AirflowSkipException(f"The sweep is not in MLflow: {error}") from error
        self.log.info("In MLflow: run %s with the leaderboard and %s of its trials", run_id, self.tracked_trials)
        return run_id

    def _log(self, context: Context, board: Leaderboard) -> str:
        from airflow_ml.adapters.mlflow_sweep import MAX_WRITERS, TrackedSweep
        from airflow_ml.operators.task_origin import origin_tags
        from airflow_ml.runtime.leaderboard import all_rows, best_rows
        from airflow_ml.runtime.sweep_pictures import pictures_of

        store, names = self.store(), task_names(context)
        path = store.path(board.artifact)
        every = str(self.tracked_trials) == ALL_TRIALS
        count = 0 if every else int(self.tracked_trials)
        rows = all_rows(path) if every else best_rows(path, direction=board.direction, count=count)
        hook = MLflowHook(str(self.mlflow_conn_id))
        sweep = TrackedSweep(
            key=board.sweep,
            experiment=hook.experiment() or names["dag"],
            files={"leaderboard.parquet": path, **pictures_of(board, store)},
            params={"trials": board.trials, "groups": board.groups, "seed": board.seed},
            metrics={"best_value": board.best.value, "succeeded": board.succeeded, "failed": board.failed},
            tags={**origin_tags(self, context), **{f"airflow_ml.{key}": value for key, value in names.items()}},
            trials=rows,
            writers=MAX_WRITERS if every else 1,
        )
        return hook.registry().log_sweep(
            sweep, on_progress=lambda done: self.log.info("%d of %d trials are in MLflow", done, len(rows))
        )


def _more_tries(context: Context) -> bool:
    instance = context["ti"]
    return int(getattr(instance, "try_number", 1) or 1) <= int(getattr(instance, "max_tries", 0) or 0)
