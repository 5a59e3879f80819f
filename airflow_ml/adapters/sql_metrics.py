"""A warehouse as a metric source: it sums, only the sufficient statistics travel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core.aliases import CHAMPION
from airflow_ml.core.arms import PAIRED_METRIC, paired_name
from airflow_ml.core.exposures import SHADOW_TABLE
from airflow_ml.core.metric_sql import (
    METRICS,
    OF_PROBABILITIES,
    assigned_sql,
    improbable_sql,
    paired_assigned_sql,
    paired_sql,
    samples_sql,
    unit_squares_sql,
)
from airflow_ml.core.ports import CovariateSums, Reading, Sample
from airflow_ml.core.record import JSON
from airflow_ml.core.sql import ident
from airflow_ml.core.statistics import MIN_STRATUM_UNITS
from airflow_ml.errors import AirflowMLError, MetricUnreadable, TableMissing

if TYPE_CHECKING:
    from airflow_ml.adapters.warehouse_router import SqlRunner
    from airflow_ml.core.metric_query import SqlOutcomes


#: As batch scoring writes them.
_SHADOW_COLUMNS = (
    '"MODEL" VARCHAR, "EPOCH" NUMBER(38, 0), "KEY" VARCHAR, "ARM" VARCHAR, "VERSION" VARCHAR, "SCORE" DOUBLE'
)


class SqlMetrics:
    """MetricSource port over a warehouse.

    Strata are ``<weight percent>/<data day>``. Only whole days below the watermark count, so an outcome that comes late
    moves nothing that was decided on; requests that still wait for theirs are counted for each arm.

    Args:
        warehouse: Runs the statements.
        query: Where exposures, outcomes and the watermark are.
    """

    def __init__(self, warehouse: SqlRunner, query: SqlOutcomes) -> None:
        self._warehouse = warehouse
        self._query = query.checked()
        self._metrics = {**METRICS, **query.metrics}

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        """Return the samples of one rollout.

        Args:
            model: The served name.
            metric: ``brier``, ``log_loss``, ``mae``, ``squared_error`` or one of the query's; with `` by <slice>`` each
                sample is of one slice, with `` paired`` each is of the differences of two scores of one request.
            epoch: The rollout's.

        Raises:
            MetricUnreadable: an unknown metric, slice or model, scores that the metric is not made for, or a statement
                that fails.
        """
        plain = metric.removesuffix(PAIRED_METRIC)
        name, _, by = plain.partition(" by ")
        expression, slice_expression = self._expressions(name, by)
        values: dict[str, JSON | datetime] = {"model": model, "epoch": epoch}
        if not self._run(
            f"SELECT 1 FROM {self._query.exposures_sql} AS e WHERE model = %(model)s LIMIT 1",  # noqa: S608
            {"model": model},
        ):
            raise MetricUnreadable(
                "No exposure of this model", model, "Score rows with it first: predict(router_conn_id=)."
            )
        watermark = _moment(self._run(self._query.watermark, values))
        day = f"{watermark:%Y-%m-%d}" if watermark else ""
        if name in OF_PROBABILITIES:
            self._check_probabilities(name, values)
        if plain != metric:
            return self._paired(expression, values, watermark, day)
        assigned = _counted(self._run(assigned_sql(self._query), values))
        changes = assigned.pop("", {})
        in_all = {arm: {s: units for s, units in strata.items() if "/" not in s} for arm, strata in assigned.items()}
        by_day = {arm: {s: units for s, units in strata.items() if "/" in s} for arm, strata in assigned.items()}
        squares: dict[str, float] = {}
        for arm in sorted(set(assigned) - {CHAMPION}) if not by else ():
            names = {"champion": CHAMPION, "challenger": arm, "day": day}
            bound: dict[str, JSON | datetime] = {**values, **names, "least": MIN_STRATUM_UNITS}
            ((units, found),) = self._run(unit_squares_sql(self._query, expression), bound)
            squares |= {arm: float(found)} if units else {}
        rows = self._run(samples_sql(self._query, expression, slice_expression), {**values, "day": day})
        return Reading(
            samples=tuple(_sample(row) for row in rows),
            watermark_at=watermark,
            assigned=by_day,
            unit_squares=squares,
            crossed=(changes["crossed"], changes["all"]) if changes.get("all") else (),
            assigned_in_all=in_all,
        )

    def _paired(
        self, expression: str, values: Mapping[str, JSON | datetime], watermark: datetime | None, day: str
    ) -> Reading:
        assigned = _counted(self._in_shadow(paired_assigned_sql(self._query), values))
        rows = self._run(paired_sql(self._query, expression), {**values, "day": day})
        return Reading(
            samples=tuple(replace(one, variant=paired_name(one.variant)) for one in map(_sample, rows)),
            watermark_at=watermark,
            assigned={paired_name(arm): strata for arm, strata in assigned.items()},
        )

    def _in_shadow(self, statement: str, values: Mapping[str, JSON | datetime]) -> Sequence[Any]:
        """Run a statement over the scores in shadow; the package's own table is made where no batch has written it yet.

        The check before a rollout comes before its first batch, and must tell a table to come from one out of reach.
        """
        try:
            return self._run(statement, values)
        except MetricUnreadable as error:
            if self._query.shadow != SHADOW_TABLE or not isinstance(error.__cause__, TableMissing):
                raise
        self._run(f"CREATE TABLE IF NOT EXISTS {ident(SHADOW_TABLE)} ({_SHADOW_COLUMNS})", {})
        return self._run(statement, values)

    def _expressions(self, name: str, by: str) -> tuple[str, str]:
        if name not in self._metrics:
            known = ", ".join(sorted(self._metrics))
            raise MetricUnreadable("Unknown metric", repr(name)[:80], f"Known are {known}.")
        if by and by not in self._query.slices:
            known = ", ".join(sorted(self._query.slices)) or "none"
            raise MetricUnreadable("Unknown slice", repr(by)[:80], f"Known are {known}.")
        return self._metrics[name], self._query.slices.get(by, "''")

    def _check_probabilities(self, metric: str, values: Mapping[str, JSON | datetime]) -> None:
        for key, score, label in self._run(improbable_sql(self._query), values):
            raise MetricUnreadable(
                f"{metric} needs scores and labels from 0 to 1",
                f"key {key!r} has score {score} and label {label}",
                "Use squared_error or mae for other numbers.",
            )

    def _run(self, statement: str, values: Mapping[str, JSON | datetime]) -> Sequence[Any]:
        try:
            return self._warehouse.run(statement, values, tag={"part": "rollout"})
        except AirflowMLError as error:
            raise MetricUnreadable("The warehouse cannot read the metric", error, "See its own message.") from error


def _counted(rows: Sequence[Any]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for arm, stratum, units in rows:
        found.setdefault(str(arm), {})[str(stratum)] = int(units or 0)
    return found


def _sample(row: Sequence[Any]) -> Sample:
    arm, stratum, slice_name, units, requests, *sums = row
    values = [float(value) for value in sums]
    if not all(math.isfinite(value) for value in values):
        raise MetricUnreadable(
            f"A sum of {arm} in stratum {stratum} is not a number", values, "Look at scores and labels."
        )
    return Sample(
        variant=str(arm),
        stratum=str(stratum),
        units=int(units),
        requests=int(requests),
        sum_x=values[0],
        sum_xx=values[1],
        sum_nn=values[2],
        sum_xn=values[3],
        waiting=int(values[4]),
        sum_squares=values[5],
        covariate=CovariateSums(sum_c=values[6], sum_cc=values[7], sum_xc=values[8], sum_nc=values[9])
        if len(values) > 6
        else None,
        slice_name=str(slice_name),
    )


def _moment(rows: Sequence[Any]) -> datetime | None:
    value = rows[0][0] if rows else None
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise MetricUnreadable("The watermark is not a time", repr(value)[:80], "Select one timestamp.")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
