"""The text that airflow_ml itself puts into SQL: identifiers and a comment. Values are always bound."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import cast

from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,254}\Z")
#: One part of a dotted name: text in double quotes (a quote inside doubled), or anything without dots and quotes.
_PART = re.compile(r'"((?:[^"\x00]|"")+)"|([^."]+)')
_PERCENT = re.compile(r"%%|%\((?P<name>[^()%]+)\)s|%")
_SELECT = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*\(*\s*(?:SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)
_MAX_PARTS = 3
_MAX_PART_CHARACTERS = 255
_MAX_COMMENT_VALUE_CHARACTERS = 250


def ident(name: str) -> str:
    """Return ``[[database.]schema.]name`` in the one safe form: every part quoted.

    A plain part means its upper case, as Snowflake resolves unquoted identifiers: ``flights`` becomes ``"FLIGHTS"``,
    and a reserved word needs no care. A part in double quotes keeps its case and may hold any character but NUL.

    Raises:
        ConfigurationError: (a ``ValueError``) for more than three parts, and for a part that is empty, longer than 255
            characters, or unquoted with characters other than letters, digits, ``_`` and ``$``.
    """
    return ".".join(_quoted(part) for part in ident_parts(name))


def ident_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a dotted name as the warehouse stores them; raises as ``ident`` does."""
    parts: list[str] = []
    position, expected = 0, isinstance(name, str)
    while expected:
        match = _PART.match(name, position)
        part = _stored(match) if match else None
        if match is None or part is None:
            raise _refused(name)
        parts.append(part)
        position = match.end()
        expected = position < len(name)
        if expected and name[position] != ".":
            raise _refused(name)
        position += 1
    if not 1 <= len(parts) <= _MAX_PARTS:
        raise _refused(name)
    return tuple(parts)


def sibling(name: str, other: str) -> str:
    """Return the quoted name of ``other`` (one part) in the schema of ``name``; raises as ``ident`` does."""
    return ".".join(
        [*(_quoted(part) for part in ident_parts(name)[:-1]), *(_quoted(part) for part in ident_parts(other))]
    )


def require_select(statement: str) -> None:
    """Refuse a statement that does not begin, after comments, with SELECT or WITH: nothing else may run as a read.

    Raises:
        ConfigurationError: for any other statement.
    """
    if not _SELECT.match(statement):
        raise ConfigurationError(
            "A snapshot reads with a SELECT",
            repr(statement.strip()[:80]),
            "Give a statement that begins with SELECT or WITH.",
        )


def bindable(name: str, value: object) -> JSON | datetime | list[JSON | datetime]:
    """Return a value in the form in which it is bound: times in UTC, sequences as lists.

    Raises:
        ConfigurationError: for a time without a zone, an empty list, a number that is not finite, and other objects.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError(f"The value of {name} is a time without a zone", str(value), "Give it one.")
        return value.astimezone(UTC)
    if isinstance(value, list | tuple) and value and not any(isinstance(item, list | tuple) for item in value):
        return [cast("JSON | datetime", bindable(name, item)) for item in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigurationError(
        f"The value of {name} cannot be bound",
        repr(value)[:120],
        "Give a finite number, text, boolean, time, None, or a list of these that is not empty.",
    )


def comment(tag: Mapping[str, str]) -> str:
    """Return a leading comment that names who runs a statement: ``/* airflow_ml dag=... run=... task=... */``.

    Characters that could end the comment, or mean something to a client's own formatting, become ``_``.
    """
    words = [f"{_word(key)}={_word(value)}" for key, value in tag.items()]
    return " ".join(["/* airflow_ml", *words, "*/"])


def pyformat(statement: str, names: Collection[str]) -> str:
    """Return a statement in which every ``%`` that is not part of ``%(name)s`` is doubled, so ``LIKE 'a%'`` works.

    A ``%`` that is doubled already stays so.

    Raises:
        ConfigurationError: for a name that has no value.
    """

    def placeholder(match: re.Match[str]) -> str:
        name = match.group("name")
        if name is None:
            return "%%"
        if name not in names:
            raise ConfigurationError(
                "The statement binds a name that has no value",
                f"%({name})s",
                f"Known names are {', '.join(sorted(names))}; give the others as parameters.",
            )
        return match.group()

    return _PERCENT.sub(placeholder, statement)


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:+@=-]", "_", str(text))[:_MAX_COMMENT_VALUE_CHARACTERS]


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'


def _stored(match: re.Match[str]) -> str | None:
    quoted, plain = match.groups()
    if quoted is not None:
        text = quoted.replace('""', '"')
        return text if len(text) <= _MAX_PART_CHARACTERS else None
    return plain.upper() if _PLAIN.match(plain) else None


def _refused(name: object) -> ConfigurationError:
    return ConfigurationError(
        "Not a name of a table or column",
        repr(name)[:160],
        'Write [[database.]schema.]name with letters, digits, _ and $, or a part in double quotes: "My Table".',
    )
