"""Metrics of a model's predictions, on plain sequences.

A metric is a mean over rows where it can be (``per_row``): then sums over any part of the rows are enough to compute
it, which is what ``core/bootstrap.py`` lives on. The area under the ROC curve is the exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from airflow_ml.core.direction import MAXIMIZE, MINIMIZE
from airflow_ml.core.spelling import did_you_mean
from airflow_ml.errors import ConfigurationError, EmptyDataset

#: The smallest probability that ``log_loss`` believes: the spacing of doubles at 1, as scikit-learn has it.
_EPSILON = 2.0**-52


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by name. ``metric(label, prediction)`` computes it."""

    name: str
    #: ``minimize`` or ``maximize``.
    direction: str
    #: Whether labels must be 0 or 1 and predictions probabilities.
    binary: bool
    #: What one row adds, from its label and prediction; None where the metric is not a mean over rows.
    per_row: Callable[[float, float], float] | None
    #: Turns the mean over rows into the metric.
    finish: Callable[[float], float] = float

    @property
    def sign(self) -> float:
        """Plus one where less is better, minus one where more is: times a value, it is a loss."""
        return 1.0 if self.direction == MINIMIZE else -1.0

    def check(self, label: Sequence[float], prediction: Sequence[float]) -> None:
        """Refuse what cannot be measured.

        Raises:
            EmptyDataset: without rows.
            ConfigurationError: for different lengths, None, NaN and infinities; for binary metrics also a label other
                than 0 or 1 and a prediction outside 0 to 1.
        """
        if len(label) != len(prediction):
            raise ConfigurationError(
                f"{self.name} needs one prediction per label",
                f"{len(prediction)} predictions, {len(label)} labels",
                "Score every row once.",
            )
        if not len(label):
            raise EmptyDataset(f"{self.name} has no rows", "0", "Check the split and the filters before it.")
        for what, values in (("label", label), ("prediction", prediction)):
            wrong = sum(1 for value in values if value is None or not math.isfinite(value))
            if wrong:
                raise ConfigurationError(
                    f"{self.name}: a {what} is not finite",
                    f"{wrong} of {len(values)}",
                    "Leave no null, NaN or infinity.",
                )
        if self.binary:
            _check_binary(self.name, label, prediction)

    def __call__(self, label: Sequence[float], prediction: Sequence[float]) -> float:
        """Return the metric; raises as ``check`` does, and ConfigurationError for ``auc`` of a single class."""
        self.check(label, prediction)
        if self.per_row is None:
            return auc(label, prediction)
        return self.finish(math.fsum(map(self.per_row, label, prediction)) / len(label))


def _check_binary(name: str, label: Sequence[float], prediction: Sequence[float]) -> None:
    strange = next((value for value in label if value not in (0, 1)), None)
    if strange is not None:
        raise ConfigurationError(f"{name} needs labels of 0 and 1", strange, "Use rmse or mae for numbers.")
    strange = next((value for value in prediction if not 0 <= value <= 1), None)
    if strange is not None:
        raise ConfigurationError(f"{name} needs probabilities", strange, "Predict a probability from 0 to 1.")


def auc(label: Sequence[float], prediction: Sequence[float]) -> float:
    """Return the area under the ROC curve: how often a positive row scores above a negative one, ties as half.

    This is the Mann-Whitney U statistic over the number of pairs (Hanley and McNeil, 1982), by one sort.

    Raises:
        ConfigurationError: if only one class occurs; there is nothing to rank then.
    """
    below = concordant = 0.0
    positives = negatives = 0
    ordered = sorted(zip(prediction, label, strict=True))
    for _, tied in groupby(ordered, key=lambda row: row[0]):
        labels = [row[1] for row in tied]
        here = sum(1 for value in labels if value)
        concordant += here * (below + (len(labels) - here) / 2)
        below += len(labels) - here
        positives += here
        negatives += len(labels) - here
    if not positives or not negatives:
        raise ConfigurationError(
            "auc needs both classes", f"{positives} positive and {negatives} negative rows", "Use brier or log_loss."
        )
    return concordant / (positives * negatives)


def _squared(label: float, prediction: float) -> float:
    return (prediction - label) ** 2


def _absolute(label: float, prediction: float) -> float:
    return abs(prediction - label)


def _log_loss(label: float, prediction: float) -> float:
    believed = min(max(prediction, _EPSILON), 1 - _EPSILON)
    return -math.log(believed if label else 1 - believed)


def _correct(label: float, prediction: float) -> float:
    return 1.0 if (prediction >= 0.5) == bool(label) else 0.0


#: All metrics by name. ``accuracy`` calls a probability of one half or more a yes.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("brier", MINIMIZE, True, _squared),
        Metric("log_loss", MINIMIZE, True, _log_loss),
        Metric("auc", MAXIMIZE, True, None),
        Metric("accuracy", MAXIMIZE, True, _correct),
        Metric("mse", MINIMIZE, False, _squared),
        Metric("rmse", MINIMIZE, False, _squared, math.sqrt),
        Metric("mae", MINIMIZE, False, _absolute),
    )
}


def metric(name: str) -> Metric:
    """Return a metric by name.

    Raises:
        ConfigurationError: for an unknown one; the message lists those there are.
    """
    found = METRICS.get(name) if isinstance(name, str) else None
    if found is None:
        hint = did_you_mean(str(name), METRICS)
        raise ConfigurationError("Unknown metric", repr(name)[:120], f"{hint}Known are {', '.join(sorted(METRICS))}.")
    return found
