"""What ``gate_model`` asks of a model on the sealed holdout, as plain values.

A check is written ``MinMetric("auc", at_least=0.7)`` and travels as ``{"check": "MinMetric", "metric": "auc", ...}``,
whose values may be templates until ``check_from_dict`` reads it in the task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from airflow_ml.core.check_options import read_options
from airflow_ml.core.metrics import metric
from airflow_ml.core.severity import CRITICAL
from airflow_ml.core.spelling import did_you_mean
from airflow_ml.errors import AirflowMLError, ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.bootstrap import Harm
    from airflow_ml.core.gate import CheckResult
    from airflow_ml.core.scored_holdout import ScoredHoldout


class ModelCheck:
    """Base of the checks. Subclasses are frozen dataclasses that compute one ``CheckResult``."""

    __slots__ = ()
    kinds: ClassVar[dict[str, type[ModelCheck]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ModelCheck.kinds[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form. Values are passed on untouched, so that a template or an XComArg survives."""
        body = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"check": type(self).__name__, **body}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the wire form of this very check; raises as ``check_from_dict`` does."""
        return cast(Self, check_from_dict({**data, "check": cls.__name__}))

    def judge(self, scored: ScoredHoldout) -> CheckResult:
        """Return what the check finds."""
        raise NotImplementedError

    def _result(self, name: str, passed: bool, observed: str, expected: str) -> CheckResult:
        from airflow_ml.core.gate import CheckResult

        severity: str = getattr(self, "severity", CRITICAL)
        return CheckResult(
            name=f"{type(self).__name__}({name})",
            severity=severity,
            passed=passed,
            observed=observed,
            expected=expected,
        )


@dataclass(frozen=True, slots=True)
class MinMetric(ModelCheck):
    """The metric on all rows lies within bounds; a second bound also catches what is too good to be true."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    severity: str = CRITICAL

    def judge(self, scored: ScoredHoldout) -> CheckResult:
        """Compare the metric with the bounds."""
        value = metric(self.metric)(scored.label, scored.candidate)
        passed, bounds = _within(value, self.at_least, self.at_most), _bounds(self.at_least, self.at_most)
        return self._result(self.metric, passed, f"{value:.5g} on {len(scored.label):,} rows", bounds)


@dataclass(frozen=True, slots=True)
class SliceMetric(ModelCheck):
    """The metric lies within bounds on every slice of ``min_rows`` rows or more.

    Below 200 rows the noise of a metric is larger than what a bound is usually about; such slices are only counted. If
    no slice is large enough the check fails: nothing was judged.
    """

    metric: str
    by: str
    at_least: float | None = None
    at_most: float | None = None
    min_rows: int = 200
    severity: str = CRITICAL

    def judge(self, scored: ScoredHoldout) -> CheckResult:
        """Compare every slice's metric with the bounds; the worst is named."""
        measured = metric(self.metric)
        rows: dict[str, list[int]] = {}
        for position, name in enumerate(scored.column(self.by)):
            rows.setdefault(str(name), []).append(position)
        values: dict[str, float] = {}
        for name in sorted(rows):
            if len(rows[name]) >= self.min_rows:
                labels = [scored.label[position] for position in rows[name]]
                values[name] = measured(labels, [scored.candidate[position] for position in rows[name]])
        expected = f"{_bounds(self.at_least, self.at_most)} for each {self.by}"
        title = f"{self.metric} by {self.by}"
        if not values:
            largest = max(map(len, rows.values()))
            observed = f"none of {len(rows)} slices has min_rows={self.min_rows} rows, the largest has {largest}"
            return self._result(title, False, observed, expected)
        broken = [name for name, value in values.items() if not _within(value, self.at_least, self.at_most)]
        worst = max(broken or values, key=lambda name: measured.sign * values[name])
        observed = (
            f"worst {worst} {values[worst]:.5g} ({len(rows[worst]):,} rows), {len(broken)} of {len(values)} outside"
        )
        small = len(rows) - len(values)
        return self._result(
            title, not broken, f"{observed}, {small} too small to judge" if small else observed, expected
        )


@dataclass(frozen=True, slots=True)
class NotWorseThanChampion(ModelCheck):
    """The candidate is not shown to be worse than the champion by more than ``margin``, on the same rows.

    Harm is the candidate's metric minus the champion's, turned so that positive is worse. The check fails if the
    one-sided *lower* bound of the harm at ``confidence`` lies above ``margin``: only then is the data evidence that the
    candidate does harm. So a good candidate passes even on little data, and passing proves no equality: traffic decides
    that later, in the canary. Without a champion the check passes, and says so.

    The bound comes from a paired bootstrap over clusters; see ``core/bootstrap.py``.

    Args:
        metric: Any metric of ``core/metrics.py``.
        margin: Harm that is tolerated, in units of the metric.
        confidence: Of the one-sided bound.
        cluster: ``day``, or a column of the slices: rows with the same value are drawn together.
    """

    metric: str
    margin: float = 0.0
    confidence: float = 0.95
    cluster: str = "day"
    resamples: int = 2_000
    seed: int = 0
    severity: str = CRITICAL

    def judge(self, scored: ScoredHoldout) -> CheckResult:
        """Bound the harm against the champion."""
        expected = f"harm not shown to exceed {self.margin:.5g} at {self.confidence:.4g} confidence"
        if scored.champion is None:
            return self._result(self.metric, True, "no champion to compare with", expected)
        harm = _harm(self, scored, scored.champion, "champion")
        observed = (
            f"{_versus(self.metric, scored, scored.champion)}, harm {harm.estimate:.3g}, at least {harm.lower:.3g}"
        )
        return self._result(self.metric, harm.lower <= self.margin, f"{observed} ({harm.clusters} clusters)", expected)


@dataclass(frozen=True, slots=True)
class BeatsBaseline(ModelCheck):
    """The candidate is shown to be better than a trivial predictor.

    Passes if the one-sided *upper* bound of the harm against the baseline at ``confidence`` lies below zero: the burden
    of proof is on the candidate. The only baseline is ``train_mean``: the mean of the training label for every row.
    """

    metric: str
    baseline: str = "train_mean"
    confidence: float = 0.95
    cluster: str = "day"
    resamples: int = 2_000
    seed: int = 0
    severity: str = CRITICAL

    def judge(self, scored: ScoredHoldout) -> CheckResult:
        """Bound the harm against the baseline."""
        harm = _harm(self, scored, scored.baseline, "baseline")
        observed = f"{_versus(self.metric, scored, scored.baseline)}, better by at least {-harm.upper:.3g}"
        expected = f"better than {self.baseline} at {self.confidence:.4g} confidence"
        return self._result(self.metric, harm.upper < 0, f"{observed} ({harm.clusters} clusters)", expected)


def evaluate(checks: Sequence[ModelCheck | Mapping[str, Any]], scored: ScoredHoldout) -> tuple[CheckResult, ...]:
    """Run the checks in their order.

    What cannot be computed (predictions that are NaN, a single class, too few days) is a failed check with its reason,
    never an open gate.

    Raises:
        ConfigurationError, ColumnMissing: a check names an unknown metric, column or option.
        EmptyDataset: the holdout has no rows.
        GateErrored: its sequences have different lengths.
    """
    read = [check_from_dict(check.to_dict() if isinstance(check, ModelCheck) else check) for check in checks]
    scored.check()
    for name in needed_columns(read):
        scored.column(name)
    return tuple(_judge(check, scored) for check in read)


def needed_columns(checks: Sequence[ModelCheck]) -> list[str]:
    """Return the columns that must be among the slices: those to slice by, and those that make clusters."""
    named = {getattr(check, option, None) for check in checks for option in ("by", "cluster")}
    return sorted(str(name) for name in named - {None, "day"})


def _judge(check: ModelCheck, scored: ScoredHoldout) -> CheckResult:
    try:
        return check.judge(scored)
    except AirflowMLError as error:
        return check._result(str(getattr(check, "metric", "")), False, f"cannot be judged: {error}"[:400], "")


def check_from_dict(data: Mapping[str, Any]) -> ModelCheck:
    """Read a check's wire form; numbers may be text, as a template renders them.

    Raises:
        ConfigurationError: for an unknown check, option or metric, a number that is none, or bounds that are missing.
    """
    kind = ModelCheck.kinds.get(str(data.get("check"))) if isinstance(data, Mapping) else None
    if kind is None:
        name = data.get("check") if isinstance(data, Mapping) else data
        hint = did_you_mean(str(name), ModelCheck.kinds, cutoff=0.4)
        raise ConfigurationError("Unknown check", repr(name)[:120], f"{hint}Known are {', '.join(ModelCheck.kinds)}.")
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**read_options(kind.__name__, fields, {name: data[name] for name in data if name != "check"}))


def _within(value: float, at_least: float | None, at_most: float | None) -> bool:
    return (at_least is None or value >= at_least) and (at_most is None or value <= at_most)


def _bounds(at_least: float | None, at_most: float | None) -> str:
    observed = [
        f"{word} {bound:.5g}" for word, bound in (("at least", at_least), ("at most", at_most)) if bound is not None
    ]
    return " and ".join(observed)


def _harm(
    check: NotWorseThanChampion | BeatsBaseline, scored: ScoredHoldout, other: Sequence[float], whose: str
) -> Harm:
    from airflow_ml.core.bootstrap import paired_harm

    measured = metric(check.metric)
    measured.check(scored.label, scored.candidate)
    try:
        measured.check(scored.label, other)
    except AirflowMLError as error:
        raise ConfigurationError(f"The {whose} cannot be measured", str(error), "") from error
    return paired_harm(
        measured,
        scored.label,
        scored.candidate,
        other,
        scored.cluster if check.cluster == "day" else scored.column(check.cluster),
        confidence=check.confidence,
        resamples=check.resamples,
        seed=check.seed,
    )


def _versus(name: str, scored: ScoredHoldout, other: Sequence[float]) -> str:
    measured = metric(name)
    return f"{measured(scored.label, scored.candidate):.5g} against {measured(scored.label, other):.5g}"
