"""The local gateway as a Router and a MetricSource, over HTTP with the standard library."""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from airflow_ml.adapters.gateway_http import GatewayAnswer, GatewayClient
from airflow_ml.core.ports import Reading, Traffic
from airflow_ml.core.record import JSON, decode
from airflow_ml.errors import (
    AirflowMLError,
    FencedOut,
    MetricUnreadable,
    NotARecord,
    RouterFailed,
)
from airflow_ml.gateway.wire import check_model, decode_traffic, traffic_to_wire

#: A write may have to load two models first; the gateway gives each of them 60 seconds.
WRITE_TIMEOUT_SECONDS = 130.0
#: A split ends at a moment on the gateway's clock that is set by the writer's. Half of what lies between the lease and
#: that moment by default, 180 and 300 s.
MOST_CLOCK_DIFFERENCE_SECONDS = 60.0


_NO_ANSWER = (OSError, http.client.HTTPException, ValueError)
_REMEDY = "Check that the gateway runs and that the connection names its address."
_TOKEN_REMEDY = "Put the gateway's token into the connection's password."  # noqa: S105 - a sentence


class GatewayRouter:
    """Router port over the gateway's ``/v1/models/{model}/traffic``.

    Args:
        base_url: For example ``http://127.0.0.1:8080``; comes from an Airflow connection.
        token: The gateway's control token, if it has one.
        timeout_seconds: For reads; a write waits up to 130 s, since it may load models.

    Raises:
        ConfigurationError: the address is none.
    """

    def __init__(self, base_url: str, token: str | None = None, timeout_seconds: float = 10.0) -> None:
        self._client = GatewayClient(base_url, token, timeout_seconds)
        self._write_timeout_seconds = max(timeout_seconds, WRITE_TIMEOUT_SECONDS)

    @property
    def address(self) -> str:
        """The gateway's address, without a path."""
        return self._client.address

    def write(self, traffic: Traffic) -> None:
        """Set the division; it is in effect, and stored by the gateway, on return.

        Raises:
            FencedOut: the gateway holds a higher epoch.
            RouterFailed: no answer, a variant that cannot be loaded, a different division read back, or a split whose
                end the two clocks do not agree about.
        """
        answer = self._call(
            "PUT",
            _path(traffic.model, "traffic"),
            traffic_to_wire(traffic),
            timeout_seconds=self._write_timeout_seconds,
        )
        if answer.status == 409:
            raise FencedOut(
                str(answer.body.get("what", "The gateway holds a higher epoch")),
                str(answer.body.get("actual", f"this write has epoch {traffic.epoch}")),
                str(answer.body.get("remedy", "")),
            )
        self._check(answer, f"write the traffic of {traffic.model}")
        if decode_traffic(answer.body) != traffic:
            raise RouterFailed(
                "The gateway put another division in effect than was written",
                f"{answer.body.get('weight_percent')} % in epoch {answer.body.get('epoch')}",
                "Read the rollout record; another writer may own this model.",
            )
        ahead = answer.clock_ahead_seconds
        if traffic.expires_at is not None and abs(ahead) > MOST_CLOCK_DIFFERENCE_SECONDS:
            raise RouterFailed(
                f"The clock of the gateway at {self.address} differs from this one",
                f"by {ahead:.0f} s",
                f"Set both by a time server: they may differ by {MOST_CLOCK_DIFFERENCE_SECONDS:.0f} s, since a split "
                "ends at a moment on the gateway's clock.",
            )

    def read(self, model: str) -> Traffic | None:
        """Return what is in effect; None where the gateway does not know the model.

        Raises:
            RouterFailed: no answer.
        """
        answer = self._call("GET", _path(model, "traffic"))
        # Any web server has 404s; only the gateway names the kind.
        if answer.status == 404 and answer.body.get("kind") == "ModelNotFound":
            return None
        self._check(answer, f"read the traffic of {model}")
        try:
            return decode_traffic(answer.body)
        except (NotARecord, ValueError, TypeError) as error:
            raise RouterFailed("The gateway's answer is not traffic", error, _REMEDY) from error

    def predict(self, model: str, rows: Sequence[Mapping[str, JSON]], *, arm: str = "") -> list[dict[str, Any]]:
        """Score rows ``{"key", "unit", "at", "features": {view digest: {feature: value}}}``, in order.

        Each answer has ``key, score, variant, version, epoch``, and ``fallback`` or ``error`` with a reason.

        Args:
            model: The served name.
            rows: The batch.
            arm: ``champion``, ``challenger``, ``challenger-2``...: it alone answers, whatever its weight, and nothing
                is logged: a trial before its first traffic. Empty: by weight.

        Raises:
            RouterFailed: no answer, no row could be scored, or there is no such arm.
        """
        return list(self._predict(model, {"rows": [dict(row) for row in rows]}, arm)["rows"])

    def predict_columns(
        self,
        model: str,
        *,
        keys: Sequence[str],
        units: Sequence[str],
        at: Sequence[str],
        features: Mapping[str, Mapping[str, Sequence[JSON]]],
        arm: str = "",
    ) -> Mapping[str, Any]:
        """Score rows that are given column by column, as ``predict`` does; many rows cost the gateway less so.

        Args:
            model: The served name.
            keys: Of the rows; all lists are of one length.
            units: Randomization units.
            at: Moments of prediction, ISO 8601 with a zone.
            features: Values by view digest and feature.
            arm: As for ``predict``.

        Returns:
            ``keys``, ``scores`` (null without one) and ``variants``, in order; ``versions`` by variant; ``epoch``; and
            ``fallbacks`` and ``errors``, lists of ``{"row": index, "reason": text}``.

        Raises:
            RouterFailed: as for ``predict``.
        """
        columns: dict[str, JSON] = {
            view: {name: list(values) for name, values in by_name.items()} for view, by_name in features.items()
        }
        body: dict[str, JSON] = {"keys": list(keys), "units": list(units), "at": list(at), "features": columns}
        return self._predict(model, body, arm)

    def _predict(self, model: str, body: Mapping[str, JSON], arm: str) -> Mapping[str, Any]:
        path = _path(model, "predict") + (f"?{urlencode({'arm': arm})}" if arm else "")
        answer = self._call("POST", path, body)
        if answer.status in (422, 503) and ("rows" in answer.body or "scores" in answer.body):
            failed = answer.body.get("rows") or answer.body.get("errors") or [{}]
            why = failed[0].get("error") or failed[0].get("reason", "")
            raise RouterFailed("The gateway scored none of the rows", why, "See the gateway's log.")
        self._check(answer, f"score rows with {model}")
        return answer.body

    def send_outcomes(self, model: str, rows: Sequence[Mapping[str, JSON]], *, watermark_at: str) -> None:
        """Send outcomes ``{"key", "label", "known_at"}`` and the data time up to which they are complete.

        Raises:
            RouterFailed: no answer, or the outcomes were refused.
        """
        body: dict[str, JSON] = {"watermark_at": watermark_at, "rows": [dict(row) for row in rows]}
        self._check(self._call("POST", _path(model, "outcomes"), body), f"send outcomes of {model}")

    def ping(self) -> str:
        """Return what to show after a connection test: the models the gateway serves.

        Raises:
            RouterFailed: no answer, or another kind of server.
        """
        answer = self._call("GET", "/healthz")
        models = answer.body.get("models")
        if answer.status in (200, 503) and models is None and "status" in answer.body:
            raise RouterFailed(
                "The gateway is up, but takes no requests from here", "no or a wrong token", _TOKEN_REMEDY
            )
        if answer.status not in (200, 503) or not isinstance(models, dict):
            raise RouterFailed(f"{self._client.address} is not a gateway", answer.error, _REMEDY)
        return f"Gateway {answer.body.get('status')}, models: {', '.join(sorted(models)) or 'none yet'}"

    def _call(
        self, method: str, path: str, body: Mapping[str, JSON] | None = None, *, timeout_seconds: float | None = None
    ) -> GatewayAnswer:
        try:
            return self._client.call(method, path, body, timeout_seconds=timeout_seconds)
        except _NO_ANSWER as error:
            raise RouterFailed(f"The gateway at {self._client.address} does not answer", error, _REMEDY) from error

    def _check(self, answer: GatewayAnswer, doing: str) -> None:
        if answer.status == 401:
            raise RouterFailed(f"The gateway refused to {doing}", answer.error, _TOKEN_REMEDY)
        if answer.status != 200:
            raise RouterFailed(f"The gateway could not {doing}", answer.error, answer.remedy)


class GatewayMetrics:
    """MetricSource port over the gateway's log; metrics are ``brier``, ``log_loss``, ``mae`` and ``squared_error``.

    Arguments as for ``GatewayRouter``.
    """

    def __init__(self, base_url: str, token: str | None = None, timeout_seconds: float = 10.0) -> None:
        self._client = GatewayClient(base_url, token, timeout_seconds)

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        """Return the samples of one rollout: strata are ``<weight percent>/<data day>``, of days below the watermark.

        Raises:
            MetricUnreadable: no answer, an unknown model or metric, or scores that the metric is not made for.
        """
        query = urlencode({"metric": metric, "epoch": epoch})
        try:
            answer = self._client.call("GET", f"{_path(model, 'metrics')}?{query}")
        except _NO_ANSWER as error:
            raise MetricUnreadable(f"The gateway at {self._client.address} does not answer", error, _REMEDY) from error
        if answer.status != 200:
            raise MetricUnreadable(f"The gateway cannot read {metric} of {model}", answer.error, answer.remedy)
        try:
            reading: Reading = decode(Reading, answer.body)
        except (AirflowMLError, ValueError, TypeError) as error:
            raise MetricUnreadable("The gateway's answer is not a reading", error, _REMEDY) from error
        return reading


def _path(model: str, what: str) -> str:
    return f"/v1/models/{quote(check_model(model), safe='')}/{what}"
