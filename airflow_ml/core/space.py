"""Search spaces: distributions of parameters that are plain data on the wire.

A distribution maps a number in [0, 1) to a value (`at`), so a sample is a pure function of its seed parts: the same in
every process and on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, ClassVar

from airflow_ml.core.fingerprint import canonical_json, finite
from airflow_ml.core.record import JSON
from airflow_ml.errors import InvalidSpace

#: Digits that are kept of a sampled float: the last ones of exp and log differ between C libraries.
_DIGITS = 12


class Distribution:
    """Base of all distributions; `kind` is its name on the wire."""

    __slots__ = ()
    kind: ClassVar[str] = ""

    def at(self, unit: float) -> JSON:
        """Return the value at a position in [0, 1)."""
        raise NotImplementedError

    def contains(self, value: object) -> bool:
        """Whether this distribution can give the value."""
        raise NotImplementedError

    def points(self) -> list[JSON] | None:
        """Return all values, or None where there is a continuum of them."""
        return None

    def to_dict(self) -> dict[str, JSON]:
        """Return the wire form, ``{"distribution": <kind>, ...}``."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Range(Distribution):
    low: float
    high: float

    def __post_init__(self) -> None:
        low, high = finite(self.low), finite(self.high)
        if low is None or high is None or low >= high:
            raise InvalidSpace(
                f"{type(self).__name__} needs two finite numbers, low < high",
                f"low={self.low!r}, high={self.high!r}",
                "For a fixed value use Choice(value).",
            )

    def contains(self, value: object) -> bool:
        number = finite(value)
        return number is not None and self.low <= number <= self.high

    def to_dict(self) -> dict[str, JSON]:
        return {"distribution": self.kind, "low": self.low, "high": self.high}

    def _clamped(self, value: float) -> float:
        return min(max(float(f"{value:.{_DIGITS}g}"), float(self.low)), float(self.high))


@dataclass(frozen=True, slots=True)
class Uniform(_Range):
    """A float in [low, high], every value equally likely."""

    kind: ClassVar[str] = "uniform"

    def at(self, unit: float) -> JSON:
        return self._clamped(self.low + unit * (self.high - self.low))


@dataclass(frozen=True, slots=True)
class LogUniform(_Range):
    """A float in [low, high] whose logarithm is uniform: for learning rates and penalties. ``low`` is above zero."""

    kind: ClassVar[str] = "log_uniform"

    def __post_init__(self) -> None:
        _Range.__post_init__(self)
        _refuse_not_positive(self)

    def at(self, unit: float) -> JSON:
        return self._clamped(math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low))))


@dataclass(frozen=True, slots=True)
class IntUniform(_Range):
    """A whole number from low to high, both included."""

    low: int
    high: int
    kind: ClassVar[str] = "int_uniform"

    def __post_init__(self) -> None:
        _Range.__post_init__(self)
        if not (isinstance(self.low, int) and isinstance(self.high, int)):
            raise InvalidSpace(
                f"{type(self).__name__} needs whole numbers", f"low={self.low!r}, high={self.high!r}", "Use Uniform."
            )

    def at(self, unit: float) -> JSON:
        return self.low + math.floor(unit * (self.high - self.low + 1))

    def contains(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def points(self) -> list[JSON] | None:
        return list(range(self.low, self.high + 1))


@dataclass(frozen=True, slots=True)
class LogIntUniform(IntUniform):
    """A whole number from low to high, small ones likelier: uniform in the logarithm of [low, high + 1)."""

    kind: ClassVar[str] = "log_int_uniform"

    def __post_init__(self) -> None:
        IntUniform.__post_init__(self)
        _refuse_not_positive(self)

    def at(self, unit: float) -> JSON:
        value = math.exp(math.log(self.low) + unit * (math.log(self.high + 1) - math.log(self.low)))
        return min(max(math.floor(float(f"{value:.{_DIGITS}g}")), self.low), self.high)


@dataclass(frozen=True, slots=True, init=False)
class Choice(Distribution):
    """One of some JSON values, each equally likely: ``Choice("gbdt", "dart")``; one value is a constant."""

    kind: ClassVar[str] = "choice"
    values: tuple[JSON, ...]

    def __init__(self, *values: JSON) -> None:
        if not values:
            raise InvalidSpace("A Choice of nothing", "Choice()", "Give at least one value.")
        if len(values) == 1 and isinstance(values[0], list | tuple):
            raise InvalidSpace("A Choice of one list", repr(values[0]), "Write the values apart: Choice(20, 40).")
        try:
            texts = [canonical_json(value) for value in values]
        except (TypeError, ValueError) as error:
            raise InvalidSpace("A Choice of something that is not JSON", str(error), "Use JSON values.") from None
        if len(set(texts)) < len(texts):
            raise InvalidSpace("A Choice with the same value twice", repr(values), "Give each value once.")
        object.__setattr__(self, "values", tuple(values))

    def at(self, unit: float) -> JSON:
        return self.values[math.floor(unit * len(self.values))]

    def contains(self, value: object) -> bool:
        return any(type(value) is type(own) and value == own for own in self.values)

    def points(self) -> list[JSON] | None:
        return list(self.values)

    def to_dict(self) -> dict[str, JSON]:
        return {"distribution": self.kind, "values": list(self.values)}


@dataclass(frozen=True, slots=True, init=False)
class When(Distribution):
    """A parameter that exists only where others have certain values: ``When(IntUniform(2, 12), booster="gbdt")``.

    Args:
        of: The parameter's distribution.
        conditions: By the name of another parameter, the value it must have; a list or tuple for any of several. A
            condition on a parameter that does not exist itself is not met.
    """

    kind: ClassVar[str] = "when"
    of: Distribution
    conditions: tuple[tuple[str, tuple[JSON, ...]], ...]

    def __init__(self, of: Distribution, /, **conditions: Any) -> None:
        if not conditions or not isinstance(of, Distribution) or isinstance(of, When):
            raise InvalidSpace(
                "When needs a distribution and a condition",
                repr(of)[:120],
                'Write When(Uniform(0, 1), booster="dart").',
            )
        found = [(name, tuple(v) if isinstance(v, list | tuple) else (v,)) for name, v in sorted(conditions.items())]
        object.__setattr__(self, "of", of)
        object.__setattr__(self, "conditions", tuple(found))

    def at(self, unit: float) -> JSON:
        return self.of.at(unit)

    def contains(self, value: object) -> bool:
        return self.of.contains(value)

    def points(self) -> list[JSON] | None:
        return self.of.points()

    def to_dict(self) -> dict[str, JSON]:
        conditions: dict[str, JSON] = {name: list(values) for name, values in self.conditions}
        return {"distribution": self.kind, "of": self.of.to_dict(), "where": conditions}

    def holds(self, params: Mapping[str, JSON]) -> bool:
        """Whether the conditions are met by the parameters that exist."""
        return all(
            name in params and any(type(params[name]) is type(value) and params[name] == value for value in values)
            for name, values in self.conditions
        )


_KINDS: dict[str, type[_Range]] = {kind.kind: kind for kind in (Uniform, LogUniform, IntUniform, LogIntUniform)}
Space = Mapping[str, Distribution]


def from_dict(data: Mapping[str, Any]) -> Distribution:
    """Read one distribution's wire form.

    Raises:
        InvalidSpace: unknown kind, or values that it cannot have.
    """
    kind = data.get("distribution")
    if kind == Choice.kind and isinstance(data.get("values"), list | tuple):
        return Choice(*data["values"])
    if kind == When.kind and isinstance(data.get("of"), Mapping) and isinstance(data.get("where"), Mapping):
        return When(from_dict(data["of"]), **data["where"])
    if kind in _KINDS and "low" in data and "high" in data:
        return _KINDS[str(kind)](data["low"], data["high"])
    raise InvalidSpace(
        "Not a distribution", repr(dict(data))[:200], f"Known kinds: {', '.join([*_KINDS, Choice.kind, When.kind])}."
    )


def parse_space(space: Mapping[str, Any]) -> dict[str, Distribution]:
    """Return a space of distributions from objects or their wire forms, sorted by name.

    Raises:
        InvalidSpace: no parameters, a name that is not text, or a value that is not a distribution.
    """
    if not isinstance(space, Mapping) or not space:
        raise InvalidSpace(
            "A search space needs parameters", repr(space)[:120], "For example {'lr': LogUniform(.01, .3)}."
        )
    parsed: dict[str, Distribution] = {}
    for name in sorted(space, key=str):
        value = space[name]
        if not isinstance(name, str) or not name:
            raise InvalidSpace("A parameter's name must be text", repr(name), "Use the names your function reads.")
        if isinstance(value, Mapping):
            parsed[name] = from_dict(value)
        elif isinstance(value, Distribution):
            parsed[name] = value
        else:
            raise InvalidSpace(
                f"Parameter {name!r} has no distribution", repr(value)[:120], "Wrap it: Choice(...) of its values."
            )
    dependence_order(parsed)
    return parsed


def dependence_order(space: Space) -> list[str]:
    """Return the names so that each comes after those that it depends on, otherwise sorted.

    Raises:
        InvalidSpace: a condition names no parameter, or parameters wait for each other.
    """
    if not any(isinstance(item, When) for item in space.values()):
        return list(space)
    needs = {name: {n for n, _ in item.conditions} if isinstance(item, When) else set() for name, item in space.items()}
    for name, needed in needs.items():
        if needed - set(space):
            unknown = ", ".join(sorted(needed - set(space)))
            raise InvalidSpace(f"{name!r} depends on no parameter of the space", unknown, "Name one of the space.")
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise InvalidSpace(
            "Parameters depend on each other", str(error.args[1]), "Let one of them always exist."
        ) from None


def space_to_dict(space: Mapping[str, Any]) -> dict[str, JSON]:
    """Return a space's wire form; raises InvalidSpace as `parse_space`."""
    return {name: distribution.to_dict() for name, distribution in parse_space(space).items()}


def _refuse_not_positive(item: _Range) -> None:
    if item.low <= 0:
        raise InvalidSpace(f"{type(item).__name__} needs low > 0", repr(item.low), "A logarithm starts above zero.")
