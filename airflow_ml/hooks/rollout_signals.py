"""What a rollout sends out while it runs: metrics through Airflow's own client, and notifications of a bad end."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.observability import stats

from airflow_ml.core.rollout_plan import SAME
from airflow_ml.core.served_name import served_name

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context
    from airflow.sdk._shared.logging.types import Logger

    from airflow_ml.core.canary import Rollout
    from airflow_ml.core.rollout_state import RolloutState

PREFIX = "airflow_ml.rollout"


@functools.cache
def start_metrics() -> None:
    """Let this process send metrics; a task's process does already, a triggerer's does so for Airflow's own only."""
    from airflow.sdk.configuration import conf
    from airflow.sdk.observability.metrics import stats_utils

    legacy = conf.getboolean("metrics", "legacy_names_on", fallback=True)
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)


def emit_metrics(state: RolloutState, *, looked: bool = True) -> None:
    """Send a rollout's metrics to wherever Airflow sends its own (StatsD, DogStatsD, OpenTelemetry).

    ``airflow_ml.rollout.decisions`` counts looks, with the tag ``action``. ``weight_percent`` and
    ``lease_seconds_left`` are gauges; of a rollout that ended the weight is what the challenger has, the lease is 0.
    Tags are ``model``, ``namespace`` and ``state``. StatsD without tags gets them once more with the served name in
    the name, so that models do not mix: ``airflow_ml.rollout.flights.weight_percent``.

    Args:
        state: The newest record.
        looked: Whether it comes from a look.
    """
    tags = {"model": state.model, "namespace": state.namespace, "state": state.state}
    left = 0.0
    if state.lease_expires_at is not None:
        left = (state.lease_expires_at - datetime.now(UTC)).total_seconds()
    name = stats.normalize_name_for_stats(
        served_name(state.model, state.namespace).replace(".", "_"), log_warning=False
    )
    # While the champion is compared with itself, no challenger has any traffic.
    weight = 0.0 if state.kind == SAME and state.live else state.weight_percent
    for prefix in (PREFIX, f"{PREFIX}.{name}"):
        stats.gauge(f"{prefix}.weight_percent", weight, tags=tags)
        stats.gauge(f"{prefix}.lease_seconds_left", round(left, 1), tags=tags)
    if looked and state.last_look is not None:
        action = state.last_look.action
        stats.incr(f"{PREFIX}.decisions", tags={**tags, "action": action})
        stats.incr(f"{PREFIX}.{name}.decisions.{action}", tags=tags)


def notify(notifiers: Sequence[BaseNotifier], context: Context, record: Rollout, log: Logger) -> None:
    """Call notifiers with the rollout's record in their context, as ``rollout``; none of them can fail the task."""
    extended: Any = {**context, "rollout": record.to_dict()}
    for notifier in notifiers:
        try:
            notifier(extended)
        except Exception as error:  # whatever a user's notifier raises
            log.warning("A notifier failed: %s: %s", type(error).__name__, error)
