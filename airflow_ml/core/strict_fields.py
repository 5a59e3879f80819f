"""Read a dataclass from what a person wrote: every key known, every value of its type, or an error that says where."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Union

from airflow_ml.core.spelling import did_you_mean
from airflow_ml.errors import ConfigurationError

T = TypeVar("T")

#: What a type is called in a message.
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def bounds(
    default: Any = dataclasses.MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    choices: Sequence[str] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    pattern: str = "",
    meant: str = "",
) -> Any:
    """Return a dataclass field with a default and what its values must keep to.

    Args:
        default, factory: As for `dataclasses.field`.
        choices: The only values of a text.
        least, most: Bounds of a number, themselves allowed.
        above: A bound of a number, itself not allowed.
        pattern: Regular expression for the whole of a text, or of each text in a list or mapping.
        meant: What the pattern means, for the message.
    """
    rule = {"choices": tuple(choices), "least": least, "most": most, "above": above, "pattern": pattern, "meant": meant}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=rule)
    return dataclasses.field(default=default, metadata=rule)


def read_fields(kind: type[T], data: object, *, where: str) -> T:
    """Return a dataclass with the values of a mapping.

    Field types may be ``str``, ``int``, ``float``, ``bool``, ``Mapping[str, str]``, ``tuple[X, ...]``, a mapping of
    anything, and each of these or None. A whole number counts as a number, nothing else is converted.

    Args:
        kind: The dataclass.
        data: What was written.
        where: Which file and table, for messages.

    Raises:
        ConfigurationError: an unknown or absent key, a wrong type, or a value out of its bounds.
    """
    table = as_table(data, where=where)
    known = {item.name: item for item in dataclasses.fields(typing.cast(Any, kind))}
    refuse_unknown(table, known, where=where)
    absent = [
        name
        for name, item in known.items()
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING and name not in table
    ]
    if absent:
        raise ConfigurationError(f"{where} lacks", ", ".join(absent), "Add it.")
    hints = typing.get_type_hints(kind)
    read = {name: _read(hints[name], value, known[name].metadata, f"{where}: {name}") for name, value in table.items()}
    return kind(**read)


def as_table(data: object, *, where: str) -> dict[str, object]:
    """Return a mapping with text keys.

    Raises:
        ConfigurationError: it is something else.
    """
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise ConfigurationError(f"{where} is not a table of options", repr(data)[:120], "Write option = value.")
    return dict(data)


def refuse_unknown(table: Mapping[str, object], known: typing.Iterable[str], *, where: str) -> None:
    """Refuse keys that nobody reads, naming the nearest that somebody does.

    Raises:
        ConfigurationError: there is such a key.
    """
    names = list(known)
    for key in table:
        if key not in names:
            guess = did_you_mean(key, names)
            raise ConfigurationError(f"{where} has no option", key, f"{guess}Its options are {', '.join(names)}.")


def _read(hint: Any, value: object, rule: Mapping[str, Any], where: str) -> object:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union or origin is types.UnionType:
        if value is None and type(None) in inner:
            return None
        return _read(next(one for one in inner if one is not type(None)), value, rule, where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigurationError(f"{where} is not a list", repr(value)[:120], "Write it in brackets, as [ ... ].")
        return tuple(_read(inner[0], item, rule, f"{where}[{at}]") for at, item in enumerate(value))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        table = as_table(value, where=where)
        if inner[1] is str:
            return {key: _scalar(str, item, rule, f"{where}.{key}") for key, item in table.items()}
        return table
    return _scalar(hint, value, rule, where)


def _scalar(kind: Any, value: object, rule: Mapping[str, Any], where: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        name = _NAMES.get(kind, f"a {kind.__name__}")
        raise ConfigurationError(f"{where} is not {name}", repr(value)[:120], f"Give {name}.")
    if isinstance(value, str):
        _check_text(value, rule, where)
    elif not isinstance(value, bool) and isinstance(value, int | float):
        _check_number(value, rule, where)
    return value


def _check_text(value: str, rule: Mapping[str, Any], where: str) -> None:
    choices, pattern = rule.get("choices"), rule.get("pattern")
    if choices and value not in choices:
        raise ConfigurationError(f"{where} is none of its choices", repr(value), f"Use {' or '.join(choices)}.")
    if pattern and not re.fullmatch(pattern, value):
        raise ConfigurationError(f"{where} cannot be", repr(value)[:120], f"It is {rule['meant']}.")


def _check_number(value: float, rule: Mapping[str, Any], where: str) -> None:
    least, most, above = rule.get("least"), rule.get("most"), rule.get("above")
    limits = [
        text
        for text, broken in (
            (f"{least:g} or more" if least is not None else "", least is not None and value < least),
            (f"at most {most:g}" if most is not None else "", most is not None and value > most),
            (f"more than {above:g}" if above is not None else "", above is not None and value <= above),
            ("finite", not math.isfinite(value)),
        )
        if broken
    ]
    if limits:
        raise ConfigurationError(f"{where} is out of range", f"{value:g}", f"It must be {' and '.join(limits)}.")


def plain_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as plain data, at any depth."""
    return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
