"""The text that airflow_ml itself puts into SQL: identifiers and a comment. Values are always bound."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

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


def is_select(statement: str) -> bool:
    """Tell whether a statement begins, after comments, with SELECT or WITH: nothing else may run as a read."""
    return bool(_SELECT.match(statement))


def comment(tag: Mapping[str, str]) -> str:
    """Return a leading comment that names who runs a statement: ``/* airflow_ml dag=... run=... task=... */``.

    Characters that could end the comment, or mean something to a client's own formatting, become ``_``.
    """
    words = [f"{_word(key)}={_word(value)}" for key, value in tag.items()]
    return " ".join(["/* airflow_ml", *words, "*/"])


def pyformat(statement: str, names: Collection[str]) -> str:
    """Return a statement in which every ``%`` that is no ``%(name)s`` is doubled, so that ``LIKE 'a%'`` needs no care.

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
