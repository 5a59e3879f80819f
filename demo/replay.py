"""The demo's traffic: real flights in the order of their predictions, answered by the gateway, outcomes as they land.

``python -m demo.replay --gateway URL --model flight_delays --store URI --start 2013-05-01`` sends one data day in about
two seconds. Features are computed as any caller would have: from the published schedule and from what was known at each
flight's ``predict_at``, with the very view definitions that the traffic configuration names.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.arms import challengers_of
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import RouterFailed
from airflow_ml.gateway.wire import models_of
from demo import flights
from demo.flights import ReplayDay
from demo.serving_features import Features, ServingFeatures, published

_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(slots=True)
class Progress:
    """What was sent so far."""

    days: int = 0
    day: date | None = None
    #: The weight at the last batch.
    weight_percent: float = 0.0
    epoch: int = 0
    #: Rows by the variant that answered.
    requests: Counter[str] = field(default_factory=Counter)
    #: Rows that the champion answered in the challenger's place, and rows without a score.
    fallbacks: int = 0
    errors: int = 0
    outcomes: int = 0


class TrafficReplay:
    """Sends days of flights to a gateway and their outcomes as they become known on the data clock.

    Args:
        router: The gateway.
        model: Which model answers.
        features: Computes features for the views in effect.
        days: The traffic, day by day.
        seconds_per_day: Wall-clock seconds in which a data day passes; a slower machine takes longer.
        batch_rows: Rows in one request; small enough that a change of weight takes effect within the day.
        tell: Called with the progress after each day.
    """

    def __init__(
        self,
        router: GatewayRouter,
        model: str,
        features: ServingFeatures,
        days: Iterable[ReplayDay],
        *,
        seconds_per_day: float = 2.0,
        batch_rows: int = 100,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._router = router
        self._model = model
        self._features = features
        self._days = days
        self._seconds_per_day = seconds_per_day
        self._batch_rows = batch_rows
        self._tell = tell
        #: The challenger that was met, by the digest of its models.
        self._met: str | None = None
        #: Requests without an outcome yet: key to (moment of prediction, outcome row, moment it is known).
        self._pending: dict[str, tuple[datetime, dict[str, JSON], datetime]] = {}
        self.progress = Progress()

    def run(
        self, stop: threading.Event, *, wait_for_split_seconds: float = 0.0, until_rollout_ends: bool = False
    ) -> Progress:
        """Send all days, and return what was sent.

        Args:
            stop: Set by the caller to end at the next batch.
            wait_for_split_seconds: How long to wait before the first day until a challenger has weight.
            until_rollout_ends: End when the rollout that was met does.

        Raises:
            RouterFailed: the gateway is gone for longer than about 15 seconds, or serves no such model.
        """
        self._await_split(stop, wait_for_split_seconds)
        for day in self._days:
            if stop.is_set() or not self._send_day(day, stop, until_rollout_ends):
                return self.progress
        if self._pending and not stop.is_set():
            self._send_outcomes(max(known_at for _, _, known_at in self._pending.values()))
            self._tell(self.progress)
        return self.progress

    def _await_split(self, stop: threading.Event, wait_seconds: float) -> None:
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline and not stop.is_set():
            traffic = self._router.read(self._model)
            if (
                traffic is not None
                and traffic.challenger is not None
                and (traffic.weight_percent > 0 or traffic.shadow)
            ):
                return
            stop.wait(0.1)

    def _send_day(self, day: ReplayDay, stop: threading.Event, until_rollout_ends: bool) -> bool:
        """Send a day; False where the replay is over."""
        began = time.monotonic()
        requests = published(day.requests)
        if self.progress.days == 0:
            # The data clock starts here: nothing before it is waited for.
            self._send_outcomes(requests["predict_at"].min())
        known: dict[str, Features] = {}
        for start in range(0, len(requests), self._batch_rows):
            traffic = self._traffic()
            if stop.is_set() or (until_rollout_ends and self._has_ended(traffic)):
                return False
            for variant in (traffic.champion, *challengers_of(traffic).values()):
                if str(variant["view_digest"]) not in known:
                    known[str(variant["view_digest"])] = self._features.build(requests, variant)
            self._send(requests[start : start + self._batch_rows], known, traffic)
            part = min(1.0, (start + self._batch_rows) / len(requests))
            stop.wait(max(0.0, began + part * self._seconds_per_day - time.monotonic()))
        self._remember(day.outcomes)
        self._send_outcomes(requests["predict_at"].max())
        self.progress.days += 1
        self.progress.day = day.day
        self._tell(self.progress)
        return True

    def _has_ended(self, traffic: Traffic) -> bool:
        # Not by the epoch: it rises also where a rollout only gets another owner.
        challenger = None if traffic.challenger is None else models_of(traffic.challenger).digest
        if self._met is None:
            self._met = challenger
        return challenger != self._met

    def _traffic(self) -> Traffic:
        traffic: Traffic | None = self._retried(lambda: self._router.read(self._model))
        if traffic is None:
            raise RouterFailed("The gateway does not serve this model", self._model, "Install a champion first.")
        self.progress.weight_percent, self.progress.epoch = traffic.weight_percent, traffic.epoch
        return traffic

    def _send(self, requests: pd.DataFrame, known: Mapping[str, Features], traffic: Traffic) -> None:
        keys = [str(key) for key in requests["flight_id"]]
        # A flight whose airplane is not named is a unit of its own.
        named = zip(keys, requests["tailnum"], strict=True)
        units = [str(tailnum) if isinstance(tailnum, str) else f"flight-{key}" for key, tailnum in named]
        at = [format_time(moment.to_pydatetime()) for moment in requests["predict_at"]]
        features = {
            digest: {name: [by_key[key][name] for key in keys] for name in by_key[keys[0]]}
            for digest, by_key in known.items()
        }
        answers = self._retried(
            lambda: self._router.predict_columns(self._model, keys=keys, units=units, at=at, features=features)
        )
        scored = [
            variant for variant, score in zip(answers["variants"], answers["scores"], strict=True) if score is not None
        ]
        self.progress.requests.update(scored)
        self.progress.errors += len(keys) - len(scored)
        self.progress.fallbacks += len(answers["fallbacks"])

    def _remember(self, outcomes: pd.DataFrame) -> None:
        columns = (outcomes[name] for name in ("flight_id", "predict_at", "late", "known_at"))
        for key, at, late, known_at in zip(*columns, strict=True):
            row: dict[str, JSON] = {
                "key": str(key),
                "label": None if pd.isna(late) else float(late),
                "known_at": format_time(known_at.to_pydatetime()),
            }
            self._pending[str(key)] = (at.to_pydatetime(), row, known_at.to_pydatetime())

    def _send_outcomes(self, clock: datetime) -> None:
        """Send what is known at a moment of the data clock; complete is what lies before the oldest open request."""
        ready = [key for key, (_, _, known_at) in self._pending.items() if known_at <= clock]
        rows = [self._pending.pop(key)[1] for key in ready]
        watermark = min((at for at, _, _ in self._pending.values()), default=clock)
        watermark_at = format_time(min(watermark, clock).astimezone(UTC))
        self._retried(lambda: self._router.send_outcomes(self._model, rows, watermark_at=watermark_at))
        self.progress.outcomes += len(rows)

    @staticmethod
    def _retried(call: Callable[[], Any]) -> Any:
        """Call again while the gateway is away; every call may be repeated without harm."""
        for pause_seconds in _RETRY_SECONDS:
            try:
                return call()
            except RouterFailed:
                time.sleep(pause_seconds)
        return call()


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay until the days or the rollout end, or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo.replay", description=__doc__)
    parser.add_argument("--gateway", required=True, help="base address; its token is AIRFLOW_ML_GATEWAY_TOKEN")
    parser.add_argument("--model", default="flight_delays")
    parser.add_argument("--store", required=True, help="artifact store that holds the view definitions")
    parser.add_argument("--start", type=date.fromisoformat, default=date(2013, 5, 1))
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--seconds-per-day", type=float, default=2.0)
    parser.add_argument("--wait-for-split-seconds", type=float, default=0.0)
    parser.add_argument("--until-rollout-ends", action="store_true")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    replay = TrafficReplay(
        GatewayRouter(options.gateway, os.environ.get("AIRFLOW_ML_GATEWAY_TOKEN"), timeout_seconds=30.0),
        options.model,
        ServingFeatures(open_store(options.store)),
        flights.replay_days(options.start, options.days),
        seconds_per_day=options.seconds_per_day,
        tell=lambda progress: print(_line(progress), flush=True),
    )
    try:
        replay.run(
            stop,
            wait_for_split_seconds=options.wait_for_split_seconds,
            until_rollout_ends=options.until_rollout_ends,
        )
    except RouterFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _line(progress: Progress) -> str:
    return json.dumps(
        {
            "day": str(progress.day),
            "epoch": progress.epoch,
            "weight_percent": progress.weight_percent,
            "requests": dict(progress.requests),
            "fallbacks": progress.fallbacks,
            "errors": progress.errors,
            "outcomes": progress.outcomes,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
