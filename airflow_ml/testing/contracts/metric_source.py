"""What every ``core.ports.MetricSource`` must do: subclass ``MetricSourceContract`` and override its fixtures."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_ml.adapters.memory.router import Request
from airflow_ml.core.arms import SHADOW_STEP, paired_name
from airflow_ml.core.ports import MetricSource, Reading
from airflow_ml.core.unit_scores import Cell, unit_squares
from airflow_ml.errors import MetricUnreadable
from airflow_ml.gateway.split import CHALLENGER, CHAMPION, assign, step_label

#: Makes requests, their outcomes and a watermark known to the system that the source reads.
Load = Callable[[str, Sequence[Request], datetime | None], None]

#: Salt of the sticky hash by which ``requests`` chooses variants; a system that splits itself must be given it.
SALT = "metric-contract"
_START = datetime(2013, 5, 1, tzinfo=UTC)


def make_requests(seed: int, *, epoch: int = 1, days: int = 3, count: int = 300, prefix: str = "r") -> list[Request]:
    """Return requests of 40 units, with the weight rising from 5 to 25 to 50 percent, one step a day.

    Of the outcomes one in ten is missing yet, and one in ten never comes.
    """
    draw = random.Random(seed)
    requests = []
    for number in range(count):
        day = number * days // count
        weight = (5.0, 25.0, 50.0)[min(day, 2)]
        unit = f"N{draw.randrange(40)}"
        fate = draw.random()
        requests.append(
            Request(
                epoch=epoch,
                key=f"{prefix}{number}",
                variant=assign(SALT, unit, weight),
                step=step_label(weight),
                unit=unit,
                at=_START + timedelta(days=day, seconds=draw.randrange(86_400)),
                score=draw.randrange(101) / 100,
                resolved=fate < 0.9,
                label=float(draw.random() < 0.3) if fate < 0.8 else None,
            )
        )
    return requests


def make_pairs(seed: int, *, count: int = 120) -> list[Request]:
    """Return requests of three days in shadow, each scored by two challengers as well, 0.125 above the champion and at
    the same score.
    """
    made = make_requests(seed, count=count)
    return [
        replace(
            one,
            variant=CHAMPION,
            step=SHADOW_STEP,
            score=one.score / 2,
            shadow={"challenger": one.score / 2 + 0.125, "challenger-2": one.score / 2},
        )
        for one in made
    ]


class MetricSourceContract:
    """Override ``source`` and ``load``."""

    #: Whether the source sees units, and so gives the sum of their squared scores.
    sees_units = True
    #: Whether it counts the units of a weight over all days.
    counts_in_all = True

    @pytest.fixture
    def source(self) -> MetricSource:
        """The source under test."""
        raise NotImplementedError

    @pytest.fixture
    def load(self, source: MetricSource) -> Load:
        """How requests reach the system that the source reads."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> str:
        """A model that no other test uses."""
        return f"model-{uuid.uuid4().hex[:12]}"

    def test_the_sums_are_those_of_the_definition(self, source: MetricSource, load: Load, model: str) -> None:
        requests = make_requests(1)
        load(model, requests, _START + timedelta(days=3))
        reading = source.read(model, metric="brier", epoch=1)
        _check(reading, requests, last_day="2013-05-03")
        assert {sample.variant for sample in reading.samples} == {CHAMPION, CHALLENGER}
        assert reading.watermark_at == _START + timedelta(days=3)
        assert bool(reading.unit_squares) == self.sees_units
        assert bool(reading.assigned_in_all) == self.counts_in_all

    def test_days_above_the_watermark_are_assigned_but_not_measured(
        self, source: MetricSource, load: Load, model: str
    ) -> None:
        requests = make_requests(2)
        load(model, requests, _START + timedelta(days=2, hours=12))
        _check(source.read(model, metric="brier", epoch=1), requests, last_day="2013-05-02")

    def test_without_a_watermark_nothing_is_measured(self, source: MetricSource, load: Load, model: str) -> None:
        requests = make_requests(3)
        load(model, requests, None)
        reading = source.read(model, metric="brier", epoch=1)
        assert reading.samples == ()
        assert reading.watermark_at is None
        assert reading.assigned == _assigned(requests)

    def test_only_traffic_of_the_epoch_counts(self, source: MetricSource, load: Load, model: str) -> None:
        old, new = make_requests(4, prefix="old", count=60), make_requests(5, epoch=2, prefix="new", count=60)
        load(model, old, None)
        load(model, new, _START + timedelta(days=3))
        _check(source.read(model, metric="brier", epoch=2), new, last_day="2013-05-03")

    def test_a_later_epoch_may_replay_the_same_days(self, source: MetricSource, load: Load, model: str) -> None:
        load(model, make_requests(8, prefix="old", count=60), _START + timedelta(days=3))
        # Without a watermark there is no outcome either.
        again = [
            replace(request, resolved=False, label=None) if number < 15 else request
            for number, request in enumerate(make_requests(9, epoch=2, prefix="new", count=60))
        ]
        load(model, again[:15], None)
        reading = source.read(model, metric="brier", epoch=2)
        assert reading.samples == ()
        assert reading.watermark_at is None
        load(model, again[15:], _START + timedelta(days=1))
        _check(source.read(model, metric="brier", epoch=2), again, last_day="2013-05-01")

    def test_an_epoch_without_traffic_is_empty_not_an_error(self, source: MetricSource, load: Load, model: str) -> None:
        load(model, make_requests(6, count=20), _START + timedelta(days=3))
        reading = source.read(model, metric="brier", epoch=9)
        assert reading.samples == ()
        assert not reading.assigned

    def test_pairs_are_the_differences_of_two_scores(self, source: MetricSource, load: Load, model: str) -> None:
        requests = make_pairs(10)
        load(model, requests, _START + timedelta(days=3))
        reading = source.read(model, metric="brier paired", epoch=1)
        assert reading.watermark_at == _START + timedelta(days=3)
        names = {paired_name("challenger"), paired_name("challenger-2")}
        assert {sample.variant for sample in reading.samples} == names == set(reading.assigned)
        for sample in reading.samples:
            arm = "challenger" if sample.variant == "paired" else "challenger-2"
            mine = [r for r in requests if f"{SHADOW_STEP}/{r.at:%Y-%m-%d}" == sample.stratum]
            found = [(r.shadow[arm] - r.label) ** 2 - (r.score - r.label) ** 2 for r in mine if r.label is not None]
            assert sample.requests == len(found)
            assert sample.sum_x == pytest.approx(sum(found), abs=1e-6)
            assert sample.sum_squares == pytest.approx(sum(x * x for x in found), abs=1e-6)
            assert sample.units == len({r.unit for r in mine if r.label is not None})
            assert sample.waiting == sum(not r.resolved for r in mine)
            assert reading.assigned[sample.variant][sample.stratum] == len({r.unit for r in mine})
        alone = source.read(model, metric="brier", epoch=1)
        assert {sample.variant for sample in alone.samples} == {CHAMPION}

    def test_unknown_metric_and_unknown_model_are_unreadable(
        self, source: MetricSource, load: Load, model: str
    ) -> None:
        load(model, make_requests(7, count=20), _START + timedelta(days=3))
        with pytest.raises(MetricUnreadable, match="no-such-metric"):
            source.read(model, metric="no-such-metric", epoch=1)
        with pytest.raises(MetricUnreadable):
            source.read(f"{model}-unknown", metric="brier", epoch=1)


def _assigned(requests: Sequence[Request]) -> dict[str, dict[str, int]]:
    units: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for request in requests:
        units[request.variant][f"{request.step}/{request.at:%Y-%m-%d}"].add(request.unit)
    return {arm: {stratum: len(names) for stratum, names in strata.items()} for arm, strata in units.items()}


def _unit_squares(requests: Sequence[Request]) -> float:
    cells: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for request in requests:
        if request.label is not None:
            place = (request.unit, request.variant, f"{request.step}/{request.at:%Y-%m-%d}")
            cells[place].append((request.score - request.label) ** 2)
    made = [
        Cell(unit=unit, variant=variant, stratum=stratum, sum_x=sum(losses), requests=len(losses))
        for (unit, variant, stratum), losses in cells.items()
    ]
    return unit_squares(made, champion=CHAMPION, challenger=CHALLENGER)


def _check(reading: Reading, requests: Sequence[Request], *, last_day: str) -> None:
    """Compare a reading of the Brier score with the sums taken straight from their definition."""
    assert {arm: dict(strata) for arm, strata in reading.assigned.items()} == _assigned(requests)
    counted = [request for request in requests if f"{request.at:%Y-%m-%d}" <= last_day]
    strata = sorted({(request.variant, f"{request.step}/{request.at:%Y-%m-%d}") for request in counted})
    assert sorted((sample.variant, sample.stratum) for sample in reading.samples) == strata
    if reading.assigned_in_all:
        seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for request in requests:
            seen[request.variant][request.step].add(request.unit)
        expected = {arm: {step: len(units) for step, units in steps.items()} for arm, steps in seen.items()}
        assert {arm: dict(steps) for arm, steps in reading.assigned_in_all.items()} == expected
    if reading.unit_squares:
        assert reading.unit_squares == {CHALLENGER: pytest.approx(_unit_squares(counted), rel=1e-9)}
    for sample in reading.samples:
        mine = [
            request
            for request in counted
            if (request.variant, f"{request.step}/{request.at:%Y-%m-%d}") == (sample.variant, sample.stratum)
        ]
        labelled = [request for request in mine if request.label is not None]
        x: dict[str, float] = defaultdict(float)
        n: dict[str, int] = defaultdict(int)
        for request in labelled:
            x[request.unit] += (request.score - float(request.label or 0.0)) ** 2
            n[request.unit] += 1
        assert sample.units == len(n)
        assert sample.requests == len(labelled)
        assert sample.sum_x == pytest.approx(sum(x.values()), abs=1e-9)
        assert sample.sum_xx == pytest.approx(sum(value**2 for value in x.values()), abs=1e-9)
        assert sample.sum_nn == sum(value**2 for value in n.values())
        assert sample.sum_xn == pytest.approx(sum(x[unit] * n[unit] for unit in n), abs=1e-9)
        if sample.sum_squares is not None:
            squares = sum((request.score - float(request.label or 0.0)) ** 4 for request in labelled)
            assert sample.sum_squares == pytest.approx(squares, abs=1e-9)
        assert sample.waiting == sum(not request.resolved for request in mine)
