"""Splits by time: the newest rows test, those before them validate, the rest train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_ml.core.duration import parse_duration
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError, NotARecord

#: Why a row of the spine is in no split; the keys of ``FeatureSet.excluded``.
NO_LABEL_YET = "no label yet"  #: the label was not known by ``as_of``, or nobody says when
NO_LABEL = "no label"  #: the outcome is in, and there is none (a cancelled flight)
AFTER_THE_CUT = "label known after the cut"  #: a model fitted at the cut could not have seen it
AFTER_AS_OF = "predicted after as_of"  #: ``predict_at`` is not before ``as_of``

#: The split of every row of a build that serves.
SERVE = "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """The moments that divide the splits, all aware UTC."""

    validate_at: datetime
    test_at: datetime
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSplit:
    """How long validate and test are, counted back from ``as_of`` by ``predict_at``.

    With ``a = as_of``, test is ``[a - test, a)``, validate is ``[a - test - validate, a - test)``, train all before. A
    row trains only if its label was known by the start of validate, and validates only if it was known by the start
    of test: that is what a model fitted on that day could have seen.

    Args:
        validate: Length, for example ``"14d"``.
        test: Length, for example ``"14d"``.

    Raises:
        ConfigurationError: a length that is not a duration, or is zero.
    """

    validate: str
    test: str

    def __post_init__(self) -> None:
        for name, value in (("validate", self.validate), ("test", self.test)):
            if parse_duration(value) <= 0:
                raise ConfigurationError(f"The {name} split is empty", repr(value), 'Write for example "14d".')

    def cuts(self, as_of: datetime) -> Cuts:
        """Return the moments for one ``as_of``.

        Raises:
            ConfigurationError: ``as_of`` has no time zone.
        """
        if as_of.tzinfo is None:
            raise ConfigurationError("as_of has no time zone", as_of.isoformat(), "Give an aware time in UTC.")
        end = as_of.astimezone(UTC)
        test_at = end - timedelta(seconds=parse_duration(self.test))
        return Cuts(validate_at=test_at - timedelta(seconds=parse_duration(self.validate)), test_at=test_at, as_of=end)

    def to_dict(self) -> dict[str, JSON]:
        """Return the lengths as JSON."""
        return {"validate": self.validate, "test": self.test}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TimeSplit:
        """Read the lengths back.

        Raises:
            NotARecord: if the value is something else.
        """
        if set(data) != {"validate", "test"}:
            raise NotARecord("Not a time split", sorted(data)[:8], "Pass what TimeSplit.to_dict() returns.")
        return cls(validate=data["validate"], test=data["test"])
