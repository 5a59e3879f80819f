"""Expectations as plain values: what a suite says, before any library reads it.

The names and the meaning of the arguments are those of Great Expectations 1.x.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.severity import CRITICAL, SEVERITIES
from airflow_ml.core.spelling import near
from airflow_ml.errors import ColumnMissing, ConfigurationError, UnknownExpectation

#: Arguments that name one column, and the one that names several.
_ONE_COLUMN = ("column", "column_A", "column_B")
_SEVERAL_COLUMNS = "column_list"

#: Rules whose question is whether the column is there; for them an absent column is an answer, not an error.
_ABOUT_PRESENCE = frozenset({"expect_column_to_exist"})

#: Rules that can be judged on a column that holds nothing but nulls.
_ABOUT_NULLS = frozenset(
    {
        "expect_column_to_exist",
        "expect_column_values_to_be_null",
        "expect_column_values_to_not_be_null",
        "expect_column_proportion_of_non_null_values_to_be_between",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One rule of a suite."""

    type: str
    kwargs: Mapping[str, Any]
    severity: str = CRITICAL

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must be in the data for the rule to have a meaning."""
        if self.type in _ABOUT_PRESENCE:
            return ()
        named = [self.kwargs[key] for key in _ONE_COLUMN if key in self.kwargs]
        return tuple(str(name) for name in (*named, *self.kwargs.get(_SEVERAL_COLUMNS, ())))

    @property
    def label(self) -> str:
        """The rule in a few words: its type and columns."""
        named = self.columns or tuple(str(self.kwargs[key]) for key in _ONE_COLUMN if key in self.kwargs)
        return f"{self.type}({', '.join(named)})"

    @property
    def rule(self) -> str:
        """The rule's arguments in words, without the columns."""
        shown = {key: value for key, value in self.kwargs.items() if key not in (*_ONE_COLUMN, _SEVERAL_COLUMNS)}
        return ", ".join(f"{key}={value!r}"[:200] for key, value in sorted(shown.items()))

    def unjudgeable(self, all_null: Collection[str]) -> str:
        """Say why a rule that seems to hold was not judged at all, or return an empty string.

        Libraries let a rule about values pass where there are no values. A gate must not open by that accident.

        Args:
            all_null: The columns in which every value is null or NaN.
        """
        if self.type in _ABOUT_NULLS:
            return ""
        empty = [name for name in self.columns if name in all_null]
        return f"nothing to judge: every value of {', '.join(empty)} is null" if empty else ""


def parse_expectations(items: Sequence[Mapping[str, Any]]) -> tuple[Expectation, ...]:
    """Read the wire form ``{"type", "kwargs", "severity"}``.

    Raises:
        ConfigurationError: if an item is something else, or its severity is unknown.
    """
    return tuple(_parse(item, position) for position, item in enumerate(items, 1))


def _parse(item: Mapping[str, Any], position: int) -> Expectation:
    shape = 'An expectation is {"type": "expect_...", "kwargs": {...}, "severity": "critical"}.'
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
        raise ConfigurationError(f"Expectation {position} has no type", repr(item)[:120], shape)
    kwargs = item.get("kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise ConfigurationError(f"The kwargs of expectation {position} are not an object", repr(kwargs)[:120], shape)
    several = kwargs.get(_SEVERAL_COLUMNS, ())
    if isinstance(several, str) or not isinstance(several, Iterable):
        raise ConfigurationError(f"column_list of expectation {position} is not a list", repr(several)[:120], shape)
    severity = item.get("severity") or CRITICAL
    if severity not in SEVERITIES:
        raise ConfigurationError(
            f"Unknown severity of {item['type']}", repr(severity)[:120], f"Use one of {', '.join(SEVERITIES)}."
        )
    return Expectation(type=item["type"], kwargs=dict(kwargs), severity=severity)


def require_known(expectations: Sequence[Expectation], known: Collection[str]) -> None:
    """Refuse types that the library does not have.

    Raises:
        UnknownExpectation: naming the types that come nearest.
    """
    for expectation in expectations:
        if expectation.type not in known:
            close = near(expectation.type, sorted(known), most=3, cutoff=0.5)
            raise UnknownExpectation(
                "Unknown expectation",
                expectation.type[:120],
                f"Did you mean {' or '.join(close)}?" if close else "See the Great Expectations gallery for the names.",
            )


def require_columns(expectations: Sequence[Expectation], columns: Collection[str]) -> None:
    """Refuse rules about columns that the data does not have.

    Raises:
        ColumnMissing: naming the rule and the columns that come nearest.
    """
    for expectation in expectations:
        for name in expectation.columns:
            if name not in columns:
                close = near(name, sorted(columns), most=3)
                there = f"the data has {', '.join(sorted(columns)[:30])}."
                hint = f"did you mean {' or '.join(close)}?" if close else there
                raise ColumnMissing(
                    f"{expectation.type} names a column that is not in the data",
                    name[:120],
                    f"Correct the suite or the query: {hint}",
                )
