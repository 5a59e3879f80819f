"""Stage 5, selection: the winner of each group, refitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.selection import GroupChoice, Selection

REFITS = ("none", "train", "train+validate")


def _read_constraints(constraints: Any) -> None:
    """Refuse malformed bounds."""
    if constraints:
        from airflow_ml.core.selection import check_constraints

        check_constraints(constraints)


class SelectModelOperator(MLOperator):
    """Choose the best trial of each group from a leaderboard, and refit it on all rows.

    Groups that training never saw are served by a pooled model over all groups, with the parameters of the group that
    has the most rows.

    Retry, clear: chooses the same trials and fits again with the same seeds. Kill, timeout: the runner is ended.

    Args:
        leaderboard: The `Leaderboard` of a sweep (templated).
        refit: ``train+validate`` (default: the newest rows are most like future ones), ``train``, or ``none``: fit as
            the trial did (templated).
        constraints: Bounds on other metrics, ``value`` or ``seconds``, e.g. ``{"seconds": {"max": 5}}`` (templated).
        timeout_seconds: Of the whole refit (templated). Default 3600.

    Raises:
        SweepFailed: no trial satisfies the constraints.
        ModelNotServable: the function returns no model, or one without ``predict``.
    """

    template_fields: Sequence[str] = ("leaderboard", "refit", "constraints", "timeout_seconds")
    ui_color = "#ede9fe"
    argument_rules = {
        "leaderboard": rules.record("Leaderboard"),
        "refit": rules.one_of(*REFITS),
        "constraints": rules.either("bounds by metric", Mapping, read=_read_constraints),
        "timeout_seconds": rules.number(above=0),
    }

    def __init__(
        self,
        leaderboard: Any,
        *,
        refit: str = "train+validate",
        constraints: Mapping[str, Any] | None = None,
        timeout_seconds: float = 3600.0,
        task_id: str = "select_model",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.leaderboard = plain(leaderboard)
        self.refit = refit
        self.constraints = plain(constraints) if constraints is not None else {}
        self.timeout_seconds = timeout_seconds
        self.check_arguments()

    def run(self, context: Context) -> Selection:
        """Choose, refit, explain."""
        from airflow_ml.core.artifact import Artifact
        from airflow_ml.core.features import FeatureSet
        from airflow_ml.core.record import parse_as
        from airflow_ml.core.selection import Selection, choose, selection_reason, weighted_value, winners
        from airflow_ml.core.sweep import Leaderboard
        from airflow_ml.operators.runner_call import run_in_runner
        from airflow_ml.runtime.leaderboard import read_rows
        from airflow_ml.runtime.refit import refit

        board = parse_as(Leaderboard, self.leaderboard)
        features = parse_as(FeatureSet, board.data)
        store = self.store()
        everyone = choose(
            read_rows(store.path(board.artifact)), direction=board.direction, constraints=self.constraints
        )
        for choice in everyone:
            self.log.info("%s: %s", choice.group, choice.reason)
        choices = winners(everyone)
        manifest = run_in_runner(
            refit,
            {
                "function": board.function.to_dict(),
                "features": features.to_dict(),
                "members": [_member(choice) for choice in choices],
                "by": board.by,
                "mode": self.refit,
                "constants": dict(board.constants),
                "max_train_rows": board.max_train_rows,
            },
            store=store,
            namespace=self.namespace,
            log=self.log.info,
            seed=board.seed,
            timeout_seconds=float(self.timeout_seconds),
        )
        value = weighted_value(choices, {choice.group: choice.rows or 1 for choice in choices})
        return Selection(
            sweep=board.sweep,
            metric=board.metric,
            direction=board.direction,
            value=value,
            reason=selection_reason(everyone, metric=board.metric, direction=board.direction, value=value),
            models=Artifact.from_dict(manifest),
            leaderboard=board.artifact,
            refit=self.refit,
            groups=len(choices),
            data=board.data,
            code_digest=board.function.digest,
            parents=(board.fingerprint, features.fingerprint),
        )


@with_arguments_of(SelectModelOperator)
def select_model(leaderboard: Any, **kwargs: Any) -> Any:
    """Build a `SelectModelOperator` from the same arguments and return its output, a `Selection`."""
    return SelectModelOperator(leaderboard=leaderboard, **kwargs).output


def _member(choice: GroupChoice) -> dict[str, Any]:
    return {
        "group": choice.group,
        "trial": choice.trial,
        "params": dict(choice.params),
        "value": choice.value,
        "seed": choice.seed,
    }
