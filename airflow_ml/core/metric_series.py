"""Where a rollout's metric is read in a time series database: PromQL for each sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from airflow_ml.core.record import Record
from airflow_ml.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSums:
    """PromQL for the sums of one metric. Each gives an instant vector with the labels ``variant`` and ``stratum``.

    ``$model``, ``$epoch`` stand for the rollout's served name and epoch, as text inside double quotes. A stratum is
    ``<weight percent>/<data day>``, for example ``25/2013-05-02``.
    """

    #: Requests with an outcome, and the sum of the metric and of its square over them.
    requests: str
    sum_x: str
    sum_xx: str
    #: Randomization units, the sum of their squared numbers of requests, and of these times the metric. Empty: each
    #: request is a unit, which is right only where no unit comes twice.
    units: str = ""
    sum_nn: str = ""
    sum_xn: str = ""
    #: Requests that still wait for their outcome.
    waiting: str = ""
    sum_squares: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusQueries(Record):
    """The effect of a variant as series: an application counts, Prometheus keeps the sums."""

    #: A vector with at least one sample once the model has any traffic, of whatever epoch: a name that is mistyped
    #: must not look like a rollout without traffic. For example ``count(assigned{model="$model"})``.
    known: str
    #: Units, or requests, that each variant was sent: a vector like the others, outcomes or not.
    assigned: str
    #: One number, in seconds since 1970: the data time up to which outcomes are complete. No sample: none yet.
    watermark: str
    #: Sums by metric. For steps in shadow also ``<metric> paired``: sums over differences of two scores of one request,
    #: with the variant ``paired`` (of further challengers ``paired challenger-2`` and so on) and strata
    #: ``shadow/<data day>``.
    metrics: Mapping[str, PrometheusSums] = field(default_factory=dict)

    def checked(self) -> PrometheusQueries:
        """Return itself.

        Raises:
            ConfigurationError: there is no metric, or only a part of what units need.
        """
        if not (self.metrics and self.known and self.assigned and self.watermark):
            raise ConfigurationError(
                "Not the queries of a metric",
                f"metrics {sorted(self.metrics)}",
                "Give assigned, watermark and metrics.",
            )
        for name, sums in self.metrics.items():
            given = [one for one in ("units", "sum_nn", "sum_xn") if getattr(sums, one)]
            if len(given) in (1, 2):
                raise ConfigurationError(
                    f"{name} knows its units in part", given, "Give units, sum_nn and sum_xn, or none."
                )
        return self


def filled(query: str, *, model: str, epoch: int) -> str:
    """Return PromQL with the rollout's values, escaped for a string in double quotes."""
    safe = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return query.replace("$model", safe).replace("$epoch", str(epoch))


def sums_of(sums: PrometheusSums) -> Mapping[str, str]:
    """Return the queries that are given, by the name of the sum."""
    return {one.name: getattr(sums, one.name) for one in fields(sums) if getattr(sums, one.name)}
