"""Prometheus, or a database that speaks its HTTP API, as a metric source."""

from __future__ import annotations

import base64
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_ml.core.arms import PAIRED_METRIC, is_paired
from airflow_ml.core.metric_series import PrometheusQueries, PrometheusSums, filled, sums_of
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.errors import MetricUnreadable

Place = tuple[str, str]
_LIMIT_BYTES = 16 * 1024 * 1024


class PrometheusMetrics:
    """MetricSource port over ``/api/v1/query`` (Mimir, Thanos and VictoriaMetrics have it, too).

    A series that went stale is missing, and with it the watermark: a rollout counts that as trouble, never as a pass.
    Units are not seen, so a unit that returns counts anew in each stratum.

    Args:
        base_url: For example ``http://prometheus:9090``.
        queries: PromQL for each sum.
        user: For basic authentication; with an empty one the password is a bearer token.
        password: Password or token.
        timeout_seconds: Of one query.
    """

    def __init__(
        self,
        base_url: str,
        queries: PrometheusQueries,
        *,
        user: str = "",
        password: str = "",
        timeout_seconds: float = 10.0,
    ) -> None:
        self._url = base_url.rstrip("/") + "/api/v1/query"
        self._queries = queries.checked()
        self._timeout_seconds = timeout_seconds
        self._headers: dict[str, str] = {}
        if password:
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}" if user else f"Bearer {password}"

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        """Return the samples of one rollout.

        Raises:
            MetricUnreadable: an unknown metric or model, no answer, or an answer that is not a vector.
        """
        sums = self._queries.metrics.get(metric)
        if sums is None:
            known = ", ".join(sorted(self._queries.metrics))
            raise MetricUnreadable("Unknown metric", repr(metric)[:80], f"Known are {known}.")

        def ask(query: str) -> dict[Place, float]:
            return self._vector(filled(query, model=model, epoch=epoch))

        seen = self._ask(filled(self._queries.known, model=model, epoch=epoch))
        if seen["resultType"] != "vector" or not seen["result"]:
            raise MetricUnreadable(
                "Prometheus has no series of this model", model, "Send it traffic, or correct known."
            )
        watermark = self._moment(filled(self._queries.watermark, model=model, epoch=epoch))
        places = ask(self._queries.assigned)
        assigned: dict[str, dict[str, int]] = {}
        for (variant, stratum), units in places.items():
            # One query counts for all metrics: pairs belong to the metrics of pairs.
            if is_paired(variant) == metric.endswith(PAIRED_METRIC):
                assigned.setdefault(variant, {})[stratum] = _whole(units, "assigned")
        found = {name: ask(query) for name, query in sums_of(sums).items()}
        day = f"{watermark:%Y-%m-%d}" if watermark else ""
        strata = sorted(place for place in found["requests"] if place[1].partition("/")[2][:10] < day)
        return Reading(
            samples=tuple(_sample(place, found, sums) for place in strata), watermark_at=watermark, assigned=assigned
        )

    def _moment(self, query: str) -> datetime | None:
        result = self._ask(query)
        if result["resultType"] == "scalar":
            values = [result["result"]]
        else:
            values = [one["value"] for one in result["result"]]
        if len(values) > 1:
            raise MetricUnreadable("The watermark is more than one number", len(values), "Aggregate it: max().")
        seconds = float(values[0][1]) if values else math.nan
        return datetime.fromtimestamp(seconds, UTC) if math.isfinite(seconds) else None

    def _vector(self, query: str) -> dict[Place, float]:
        result = self._ask(query)
        if result["resultType"] != "vector":
            raise MetricUnreadable("Not an instant vector", f"{result['resultType']}: {query[:99]}", "Correct it.")
        found: dict[Place, float] = {}
        for one in result["result"]:
            labels = one["metric"]
            if "variant" not in labels or "stratum" not in labels:
                raise MetricUnreadable(
                    "A series lacks variant or stratum", labels, "Use sum by (variant, stratum) (...)."
                )
            place = (str(labels["variant"]), str(labels["stratum"]))
            if place in found:
                raise MetricUnreadable(
                    "Two series of one variant and stratum", labels, "Use sum by (variant, stratum)."
                )
            found[place] = float(one["value"][1])
        return found

    def _ask(self, query: str) -> Mapping[str, Any]:
        body = urllib.parse.urlencode({"query": query}).encode()
        request = urllib.request.Request(self._url, data=body, headers=self._headers)  # noqa: S310 - a configured URL
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as answer:  # noqa: S310
                data = json.loads(answer.read(_LIMIT_BYTES))
        except urllib.error.HTTPError as error:
            raise MetricUnreadable(
                f"Prometheus refused the query ({error.code})", _words(error), query[:200]
            ) from error
        except (OSError, ValueError) as error:
            raise MetricUnreadable(
                f"Prometheus at {self._url} does not answer", error, "Check that it runs."
            ) from error
        if not isinstance(data, dict) or data.get("status") != "success" or "resultType" not in data.get("data", {}):
            raise MetricUnreadable("Prometheus gives no result", str(data)[:200], "Check that the URL is Prometheus'.")
        found: Mapping[str, Any] = data["data"]
        return found


def _sample(place: Place, found: Mapping[str, Mapping[Place, float]], sums: PrometheusSums) -> Sample:
    values = {name: series.get(place, 0.0) for name, series in found.items()}
    requests = _whole(values["requests"], "requests")
    clustered = bool(sums.units)
    return Sample(
        variant=place[0],
        stratum=place[1],
        units=_whole(values["units"], "units") if clustered else requests,
        requests=requests,
        sum_x=values["sum_x"],
        sum_xx=values["sum_xx"],
        sum_nn=values["sum_nn"] if clustered else float(requests),
        sum_xn=values["sum_xn"] if clustered else values["sum_x"],
        waiting=_whole(values.get("waiting", 0.0), "waiting"),
        sum_squares=values.get("sum_squares"),
    )


def _whole(value: float, name: str) -> int:
    if not math.isfinite(value) or value < 0:
        raise MetricUnreadable(f"{name} is not a number of requests", value, "Check the series.")
    return round(value)


def _words(error: urllib.error.HTTPError) -> str:
    try:
        body = json.loads(error.read(_LIMIT_BYTES))
    except (OSError, ValueError):
        return str(error.reason)
    return f"{body.get('errorType')}: {body.get('error')}" if isinstance(body, dict) else str(error.reason)
