"""The in-memory twins of Router and MetricSource."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_ml.core.aliases import CHAMPION
from airflow_ml.core.arms import PAIRED_METRIC, SHADOW_STEP, challengers_of, paired_name
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.ports import Reading, Sample, Traffic
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.unit_scores import Cell, unit_squares
from airflow_ml.errors import AirflowMLError, FencedOut, MetricUnreadable, RouterFailed

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore


class MemoryRouter:
    """A router that keeps traffic in a dict.

    Args:
        store: Where the variants' models must be; by default they are not looked at.
    """

    def __init__(self, store: ArtifactStore | None = None) -> None:
        #: Every division that was in effect, oldest first.
        self.history: list[Traffic] = []
        self._store = store
        self._held: dict[str, Traffic] = {}
        self._lock = threading.Lock()

    def write(self, traffic: Traffic) -> None:
        """Set the division; raises FencedOut, RouterFailed."""
        with self._lock:
            held = self._held.get(traffic.model)
            if held is not None and held.epoch > traffic.epoch:
                raise FencedOut(
                    f"Traffic of {traffic.model} is held by epoch {held.epoch}",
                    f"this write has epoch {traffic.epoch}",
                    "Read the traffic and the rollout record again; a later write owns them.",
                )
            for variant in (traffic.champion, *challengers_of(traffic).values()):
                self._load(variant)
            self._held[traffic.model] = replace(traffic)
            self.history.append(traffic)

    def read(self, model: str) -> Traffic | None:
        """Return what is in effect, or None."""
        with self._lock:
            return self._held.get(model)

    def _load(self, variant: Mapping[str, JSON]) -> None:
        if self._store is None:
            return
        try:
            self._store.get_bytes(parse_as(Artifact, variant["models"]))
        except AirflowMLError as error:
            raise RouterFailed(
                f"Version {variant.get('version')} cannot be loaded", error, "Check that the store holds its models."
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that was answered, and its outcome where there is one."""

    epoch: int
    key: str
    variant: str
    #: The rollout step's name in strata.
    step: str
    unit: str
    at: datetime
    score: float
    #: Whether it is known what became of it; without a label it then never counts.
    resolved: bool = False
    label: float | None = None
    #: What challengers said in shadow, by arm.
    shadow: Mapping[str, float] = field(default_factory=dict)


class MemoryMetrics:
    """A metric source over requests in a list, summed in the plainest way."""

    def __init__(self) -> None:
        self._requests: dict[str, list[Request]] = defaultdict(list)
        #: By model and the newest epoch at that time.
        self._watermarks: dict[tuple[str, int], datetime] = {}

    def add(self, model: str, requests: Iterable[Request], *, watermark_at: datetime | None = None) -> None:
        """Take requests, and the data time below which every outcome is in."""
        self._requests[model].extend(requests)
        if watermark_at is not None:
            place = (model, max((request.epoch for request in self._requests[model]), default=0))
            self._watermarks[place] = max(watermark_at, self._watermarks.get(place, watermark_at))

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        """Return the samples of one rollout: ``brier``, ``squared_error`` or ``mae``; raises MetricUnreadable."""
        if metric.removesuffix(PAIRED_METRIC) not in ("brier", "squared_error", "mae"):
            raise MetricUnreadable("Unknown metric", metric, "Known are brier, mae, squared_error.")
        if model not in self._requests:
            raise MetricUnreadable("No such model", model, "Write its traffic first.")
        requests = [request for request in self._requests[model] if request.epoch == epoch]
        watermarks = [at for (name, when), at in self._watermarks.items() if name == model and when >= epoch]
        watermark = max(watermarks, default=None)
        if metric.endswith(PAIRED_METRIC):
            return _pairs(requests, metric.removesuffix(PAIRED_METRIC), watermark)
        assigned: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        in_all: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        units: dict[tuple[str, str], dict[str, list[Request]]] = defaultdict(lambda: defaultdict(list))
        for request in requests:
            day = _day(request.at)
            stratum = f"{request.step}/{day}"
            assigned[request.variant][stratum].add(request.unit)
            in_all[request.variant][request.step].add(request.unit)
            if watermark is not None and day < _day(watermark):
                units[request.variant, stratum][request.unit].append(request)
        return Reading(
            samples=tuple(_sample(*key, by_unit, metric) for key, by_unit in sorted(units.items())),
            watermark_at=watermark,
            assigned=_lengths(assigned),
            unit_squares=_unit_squares(units, metric),
            assigned_in_all=_lengths(in_all),
        )


def _lengths(found: Mapping[str, Mapping[str, set[str]]]) -> dict[str, dict[str, int]]:
    return {variant: {stratum: len(seen) for stratum, seen in strata.items()} for variant, strata in found.items()}


def _pairs(requests: Iterable[Request], metric: str, watermark: datetime | None) -> Reading:
    """Return the differences between challengers in shadow and the champion."""
    assigned: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    units: dict[tuple[str, str], dict[str, list[tuple[float | None, bool]]]] = defaultdict(lambda: defaultdict(list))
    for one in requests:
        for arm, score in one.shadow.items() if one.step == SHADOW_STEP else ():
            stratum = f"{SHADOW_STEP}/{_day(one.at)}"
            assigned[paired_name(arm)][stratum].add(one.unit)
            if watermark is not None and _day(one.at) < _day(watermark):
                both = None
                if one.label is not None:
                    both = _loss(metric, score, one.label) - _loss(metric, one.score, one.label)
                units[paired_name(arm), stratum][one.unit].append((both, not one.resolved))
    samples = []
    for (variant, stratum), by_unit in sorted(units.items()):
        known = [[x for x, _ in pairs if x is not None] for pairs in by_unit.values()]
        known = [pairs for pairs in known if pairs]
        samples.append(
            Sample(
                variant=variant,
                stratum=stratum,
                units=len(known),
                requests=sum(map(len, known)),
                sum_x=float(sum(map(sum, known))),
                sum_xx=float(sum(sum(pairs) ** 2 for pairs in known)),
                sum_nn=float(sum(len(pairs) ** 2 for pairs in known)),
                sum_xn=float(sum(sum(pairs) * len(pairs) for pairs in known)),
                waiting=sum(late for pairs in by_unit.values() for _, late in pairs),
                sum_squares=float(sum(x * x for pairs in known for x in pairs)),
            )
        )
    return Reading(samples=tuple(samples), watermark_at=watermark, assigned=_lengths(assigned))


def _sample(variant: str, stratum: str, by_unit: Mapping[str, list[Request]], metric: str) -> Sample:
    pairs = []
    squares = 0.0
    for requests in by_unit.values():
        losses = [_loss(metric, request.score, request.label) for request in requests if request.label is not None]
        if losses:
            pairs.append((sum(losses), len(losses)))
            squares += sum(loss * loss for loss in losses)
    return Sample(
        variant=variant,
        stratum=stratum,
        units=len(pairs),
        requests=sum(n for _, n in pairs),
        sum_x=float(sum(x for x, _ in pairs)),
        sum_xx=float(sum(x * x for x, _ in pairs)),
        sum_nn=float(sum(n * n for _, n in pairs)),
        sum_xn=float(sum(x * n for x, n in pairs)),
        waiting=sum(not request.resolved for requests in by_unit.values() for request in requests),
        sum_squares=squares,
    )


def _unit_squares(units: Mapping[tuple[str, str], Mapping[str, list[Request]]], metric: str) -> dict[str, float]:
    cells = []
    for (variant, stratum), by_unit in units.items():
        for unit, requests in by_unit.items():
            losses = [_loss(metric, one.score, one.label) for one in requests if one.label is not None]
            cells.append(Cell(unit=unit, variant=variant, stratum=stratum, sum_x=sum(losses), requests=len(losses)))
    return {
        challenger: unit_squares(cells, champion=CHAMPION, challenger=challenger)
        for challenger in sorted({variant for variant, _ in units} - {CHAMPION})
    }


def _loss(metric: str, score: float, label: float) -> float:
    return abs(score - label) if metric == "mae" else (score - label) ** 2


def _day(at: datetime) -> str:
    return format_time(at.astimezone(UTC))[:10]
