"""Stage 7, canary: a challenger becomes champion by evidence from traffic, or does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.links import CanaryPageLink, ModelPageLink, ModelVersionLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, failing_at_once
from airflow_ml.operators.canary_plan import RULES, check_plan_of
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.canary import Rollout


class CanaryOperator(MLOperator):
    """Give a challenger growing shares of traffic; promote it once it is shown to be better, else roll it back.

    Champion and challenger are the versions with these aliases. Without a champion the challenger is installed. The
    worker checks everything and creates the rollout at weight 0; then the task defers, and its trigger alone looks,
    decides and moves traffic. At the end the alias ``champion`` follows what the router was shown to serve, the alias
    ``previous`` keeps the old version, and the asset ``mlflow://<model>@champion`` gets an event.

    Retry, clear: continues the task's own rollout at the same step with the same evidence. A rollout that evidence has
    ended is not repeated; one that ended because the task was killed starts again. Kill, mark failed, mark success:
    traffic returns to the champion at once, and in any case after ``router_seconds``. Timeout: ``execution_timeout``
    does not count while the task is deferred; ``max_data_days`` limits the rollout.

    Args:
        model: Name of the registered model (templated).
        metric: What is compared, per request: for the gateway ``brier``, ``log_loss``, ``squared_error`` or ``mae``
            (templated).
        direction: ``minimize`` (default: losses) or ``maximize``.
        challengers: Aliases or versions to compare with the champion (templated). If there are several, the best of
            those shown to be better is promoted, and one shown to do harm is stopped while the others continue. Each
            answers a step's weight; ``alpha`` holds for all of them together.
        design: ``split`` (default), or ``paired_shadow``: champion and challengers score every request, and the
            differences decide, clustered by data day. For outcomes that do not depend on the prediction. Its steps
            begin with one in shadow, ``[("shadow", "14d"), 100]`` (templated).
        cluster: ``unit`` (default): requests of one unit may be correlated. ``request``: each counts as independent;
            the rollout is refused if the design effect is above 1.5 (templated).
        hypothesis: ``superiority`` (default) or ``non_inferiority`` with a ``margin``.
        margin: In the metric's unit: how much worse still counts as no worse.
        guardrails: Metrics that must not get worse by more than a margin: ``[("log_loss", 0.02)]``, or mappings with
            the fields of `Guardrail` (templated), for example a ``limit`` for the challenger's own mean, or
            ``"decides": False`` for a dry run. A guardrail shown to be broken rolls back; all must be shown to hold
            before the promotion. ``alpha`` is divided among them and the metric.
        expected_effect: In the metric's unit, above 0: the improvement you hope for (templated). The log then says how
            long it takes to show it, and a plan with little chance of showing it is refused.
        steps: Weights in percent, or pairs of weight and duration in data days: ``[(5, "2d"), (25, "2d"), 50, 100]``
            (templated). A step's duration is a minimum; the default is one data day each. Instead of a weight,
            ``"shadow"`` lets challengers score the champion's requests without serving the scores, and ``"aa"``
            compares the champion with itself, to test the measurement: ``[("aa", "1d"), ("shadow", "2d"), 5, 100]``.
            A mapping may add ``min_units`` of each arm, and ``metrics`` that must be shown before the next step.
        alpha: Probability of a wrong decision over the whole rollout, however often it is looked at (templated).
        min_units: Randomization units that each arm needs before anything is decided (templated).
        tau_requests: Tunes the test, see `RolloutPlan`. None (default): fixed before the start for ``expected_effect``,
            or the margin, at the champion's observed traffic; 100 without either.
        max_data_days: Data days after which an undecided rollout ends at weight 0 (templated).
        max_silence_seconds: Wall-clock time without new outcomes after which it ends likewise.
        inconclusive: What follows if no decision was reached in time. ``roll_back`` (default): the rollout ends at
            weight 0. ``hold``: it stays at its step until somebody resumes or stops it. ``ask``: it waits at weight 0,
            without a lease, for Airflow's own approval with the evidence; approved, it continues at its step
            (templated).
        ask_timeout_seconds: An approval that nobody gives within this time counts as a rejection. Three days: over a
            weekend.
        busy: What to do while another rollout of the model is running: ``fail`` (default), ``skip`` the task, or
            ``wait``, deferred, until it has ended (templated).
        notifiers: Airflow notifiers, called with the record as ``rollout`` in their context if it ends badly.
        limits: How many looks of a kind are tolerated (templated), by the names of `RolloutPlan`: ``failure_limit``
            (0), ``consecutive_successes`` (1), ``inconclusive_limit`` and ``consecutive_error_limit`` (-1: no limit).
        poll_interval_seconds: Pause between looks. Default 60: peeking does not inflate the error rate, but each look
            is a query.
        lease_seconds: How long the rollout may go without a look before anybody may roll it back.
        router_seconds: How long after the last look the router itself returns to the champion; at least the lease.
        mlflow_conn_id: Airflow connection of the registry (templated).
        router_conn_id: Airflow connection of the router (templated): a gateway, or a warehouse whose batch scoring is
            divided (`predict` with the same ``router_conn_id``).
        source: Where the metric is read, if not from the gateway's own log: `SqlOutcomes` (required if the router is a
            warehouse) or `PrometheusQueries` (templated); or a function ``(model, metric=..., epoch=...)`` that returns
            a `Reading`. With a function the task is not deferred, since a triggerer runs no user code: the worker
            leads, with looks at least 60 s apart, and until a slot is free the weight is 0.
        source_conn_id: Airflow connection of the source, if it is not the router's (templated).

    Raises:
        ModelNotFound: no version has the alias ``challenger``, or that version is the champion already.
        ModelNotServable: a version was not registered by airflow_ml.
        RolloutBusy: another rollout of this model is running.
        NoTraffic: at the champion's observed traffic the plan can never end with a decision.
        MetricUnreadable, RouterFailed: the checks before the start failed.
        AliasConflict: somebody else moved ``champion``, or took over the router.
    """

    template_fields: Sequence[str] = (
        "model",
        "metric",
        "challengers",
        "design",
        "cluster",
        "guardrails",
        "expected_effect",
        "steps",
        "alpha",
        "min_units",
        "max_data_days",
        "inconclusive",
        "busy",
        "limits",
        "mlflow_conn_id",
        "router_conn_id",
        "source",
        "source_conn_id",
    )
    operator_extra_links = (TaskPageLink(), CanaryPageLink(), ModelPageLink(), ModelVersionLink())
    ui_color = "#dcfce7"
    argument_rules = RULES

    def __init__(
        self,
        model: str,
        *,
        metric: str = "brier",
        direction: str = "minimize",
        challengers: Sequence[str] = (CHALLENGER,),
        design: str = "split",
        cluster: str = "unit",
        hypothesis: str = "superiority",
        margin: float = 0.0,
        guardrails: Sequence[Any] = (),
        expected_effect: float = 0.0,
        steps: Sequence[Any] = (5, 25, 50, 100),
        alpha: float = 0.05,
        min_units: int = 100,
        tau_requests: float | None = None,
        max_data_days: float = 21.0,
        max_silence_seconds: float = 172_800.0,
        inconclusive: str = "roll_back",
        ask_timeout_seconds: float = 259_200.0,
        busy: str = "fail",
        limits: Mapping[str, int] | None = None,
        notifiers: Sequence[Any] = (),
        poll_interval_seconds: float = 60.0,
        lease_seconds: float = 180.0,
        router_seconds: float = 300.0,
        mlflow_conn_id: str = "mlflow_default",
        router_conn_id: str = "gateway_default",
        source: Any = None,
        source_conn_id: str | None = None,
        task_id: str = "canary",
        **kwargs: Any,
    ) -> None:
        self.moved = AssetAlias(f"{model}@{CHAMPION}:moved")  # an asset would emit an event at every success
        super().__init__(task_id=task_id, outlets=[*kwargs.pop("outlets", []), self.moved], **kwargs)
        self.model = model
        self.metric = metric
        self.direction = direction
        self.challengers = plain(challengers)
        self.design = design
        self.cluster = cluster
        self.hypothesis = hypothesis
        self.margin = margin
        self.guardrails = plain(guardrails)
        self.expected_effect = expected_effect
        self.steps = plain(steps)
        self.alpha = alpha
        self.min_units = min_units
        self.tau_requests = tau_requests
        self.max_data_days = max_data_days
        self.max_silence_seconds = max_silence_seconds
        self.inconclusive = inconclusive
        self.ask_timeout_seconds = ask_timeout_seconds
        self.busy = busy
        self.limits = plain(limits) if limits is not None else {}
        self.notifiers = list(notifiers)
        self.poll_interval_seconds = poll_interval_seconds
        self.lease_seconds = lease_seconds
        self.router_seconds = router_seconds
        self.mlflow_conn_id = mlflow_conn_id
        self.router_conn_id = router_conn_id
        self.function = source if callable(source) and not isinstance(source, type) else None
        self.source = None if self.function is not None else plain(source)  # a callable there Airflow would call
        self.source_conn_id = source_conn_id
        self.check_arguments()
        check_plan_of(self)

    def run(self, context: Context) -> Rollout:
        """Check, create the rollout at weight 0 and defer; or install a first version; or apply an existing outcome."""
        from airflow_ml.operators.canary_run import run_canary

        return run_canary(self, context)

    def execute_turn(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Start, now that the other rollout of the model has ended; wait again if a third one was faster."""
        return self._run_to_wire(context)

    def execute_answer(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Continue at the step where the rollout was parked, or end it, as the approver decided."""
        from airflow_ml.operators.canary_run import resume_after_approval

        with failing_at_once():
            return resume_after_approval(self, context, event).to_xcom()

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Apply the outcome that the trigger reports: alias, asset event, record. Decides nothing."""
        from airflow_ml.operators.canary_run import finish

        with failing_at_once():
            return finish(self, context, event).to_xcom()

    def wire_source(self) -> dict[str, Any] | None:
        """Return where the metric is read, as a trigger takes it; None for the gateway's own log or a function."""
        return {**self.source, "conn_id": self.source_conn_id} if self.source else None

    def aliases(self) -> list[str]:
        """Return what the challengers are named by, after templating."""
        return [self.challengers] if isinstance(self.challengers, str) else [str(name) for name in self.challengers]

    def plan_changes(self) -> dict[str, Any]:
        """Return fields of the plan that are another operator's than this one's."""
        return {}


@with_arguments_of(CanaryOperator)
def canary(model: str, **kwargs: Any) -> Any:
    """Build a `CanaryOperator` from the same arguments and return its output, a `Rollout`."""
    return CanaryOperator(model=model, **kwargs).output
