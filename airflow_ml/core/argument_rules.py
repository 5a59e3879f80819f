"""What an operator's argument must be, so that mistakes show when a DAG file is parsed and not in a running task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.duration import parse_duration
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.errors import ConfigurationError

#: Raises, or the value may stay.
Reader = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one argument must be.

    Attributes:
        meant: In words that go on after "Give": ``a number above 0``.
        holds: Whether a value is that. Where the argument is templated, numbers may be text: so a template gives them.
        read: Reads the value as the task will; what it raises is the error.
        from_task: Whether the output of a task belongs here. Once that is there, reading it says more than this rule.
    """

    meant: str
    holds: Callable[[object, bool], bool]
    read: Reader | None = None
    from_task: bool = False

    def check(self, name: str, value: object, *, owner: str, templated: bool) -> None:
        """Refuse a value.

        Args:
            name: The argument's.
            value: What was given.
            owner: Name of the task, for the message.
            templated: Whether a template may have made it.

        Raises:
            ConfigurationError: it cannot work.
        """
        if not self.holds(value, templated):
            raise ConfigurationError(f"{name} of {owner} cannot be", repr(value)[:120], f"Give {self.meant}.")
        if self.read is not None and value is not None:
            self.read(value)


def text(*, optional: bool = False, empty: bool = False) -> Rule:
    """A text; with ``empty`` also one without a character."""
    meant = "a text, or leave it out" if optional or empty else "a text"
    return Rule(
        meant, lambda value, _: (value is None and optional) or (isinstance(value, str) and (empty or value != ""))
    )


def one_of(*choices: str) -> Rule:
    """One of some texts."""
    return Rule(f"one of {', '.join(choices)}", lambda value, _: isinstance(value, str) and value in choices)


def flag() -> Rule:
    """True or False."""
    return Rule("True or False", lambda value, _: isinstance(value, bool))


def number(
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    whole: bool = False,
    optional: bool = False,
    words: Sequence[str] = (),
) -> Rule:
    """A finite number.

    Args:
        least, most: Bounds, themselves allowed.
        above, below: Bounds, themselves not allowed.
        whole: Only whole numbers.
        optional: Also None.
        words: Texts that may stand in its place.
    """

    def holds(value: object, templated: bool) -> bool:
        if (value is None and optional) or (isinstance(value, str) and value in words):
            return True
        found = _number(value, templated=templated, whole=whole)
        return found is not None and least <= found <= most and above < found < below

    bounds = [("from", least), ("above", above), ("to", most), ("below", below)]
    limits = [f"{word} {bound:,g}".replace(",", "") for word, bound in bounds if math.isfinite(bound)]
    meant = " ".join(["a whole number" if whole else "a number", *limits])
    others = [*(repr(word) for word in words), *(["None"] if optional else [])]
    return Rule(", or ".join([meant, *others]), holds)


def mapping(*, keys: Sequence[str] = ()) -> Rule:
    """A mapping with text keys, of these where they are given."""

    def holds(value: object, _: bool) -> bool:
        return isinstance(value, Mapping) and all(isinstance(key, str) and (not keys or key in keys) for key in value)

    return Rule(f"a mapping with the keys {', '.join(keys)}" if keys else "a mapping with text keys", holds)


def texts() -> Rule:
    """A text, or a list of some."""

    def holds(value: object, _: bool) -> bool:
        many = [value] if isinstance(value, str) else value
        return isinstance(many, list | tuple) and bool(many) and all(isinstance(one, str) and one for one in many)

    return Rule("a text, or a list of texts", holds)


def sequence(read: Reader | None = None, *, empty: bool = False) -> Rule:
    """A list, which ``read`` understands."""
    meant = "a list" if empty else "a list that is not empty"
    return Rule(meant, lambda value, _: isinstance(value, list | tuple) and (empty or bool(value)), read)


def record(name: str) -> Rule:
    """The output of a task, or a record of ours in wire form."""

    def holds(value: object, _: bool) -> bool:
        return isinstance(value, Mapping) and value.get("record", name) == name

    return Rule(f"the output of a task that makes a {name}", holds, from_task=True)


def either(meant: str, *kinds: type, read: Reader | None = None, optional: bool = False) -> Rule:
    """A value of one of some types, which ``read`` understands.

    Args:
        meant: What it is, in words that go on after "Give".
        kinds: The types.
        read: Raises where it does not understand the value.
        optional: Also None.
    """
    return Rule(meant, lambda value, _: (value is None and optional) or isinstance(value, kinds), read)


def duration() -> Rule:
    """A length of time such as ``"2h"``, or seconds."""
    return either('a length of time such as "2h"', str, int, float, read=parse_duration)


def instant() -> Rule:
    """A time with a zone, or nothing."""
    return either('a time such as "2013-04-01T00:00:00Z"', str, read=_instant, optional=True)


def _instant(value: object) -> None:
    if value != "":
        try:
            parse_time(str(value))
        except ValueError as error:
            raise ConfigurationError(
                "as_of is not a time", repr(value), "Write it like 2013-04-01T00:00:00Z."
            ) from error


def _number(value: object, *, templated: bool, whole: bool) -> float | None:
    if isinstance(value, str) and templated:
        try:
            value = int(value) if whole else float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return None
    return float(value) if abs(value) <= 1e300 and math.isfinite(value) else None
