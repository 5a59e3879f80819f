"""Names and durations in a feature view."""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_ml.core.duration import parse_duration
from airflow_ml.errors import ConfigurationError

#: Lower case, so that one name means one column in Snowflake (folded), DuckDB (case-blind) and Parquet (exact);
#: two leading underscores are the compiler's own names.
_COLUMN = re.compile(r"(?!__)[a-z_][a-z0-9_]{0,119}\Z")
_TABLE = re.compile(r"[a-z_][a-z0-9_$]{0,119}(\.[a-z_][a-z0-9_$]{0,119}){0,2}\Z")


def column_name(value: object, what: str) -> str:
    """Return a well-formed column name.

    Raises:
        ConfigurationError: for upper case, spaces, quotes, a leading double underscore, or more than 120 characters.
    """
    if not isinstance(value, str) or not _COLUMN.match(value):
        raise ConfigurationError(
            f"Not a name for {what}",
            repr(value)[:160],
            "Use lower-case letters, digits and single leading underscores; rename the column in the snapshot's SQL.",
        )
    return value


def table_name(value: object) -> str:
    """Return a well-formed ``[[database.]schema.]table``, in lower case.

    Raises:
        ConfigurationError: for anything else.
    """
    if not isinstance(value, str) or not _TABLE.match(value):
        raise ConfigurationError(
            "Not a table name", repr(value)[:160], "Write table or schema.table, in lower case, without quotes."
        )
    return value


def column_names(value: str | Sequence[str] | None, what: str) -> tuple[str, ...]:
    """Return one or several names as a tuple without repetition.

    Raises:
        ConfigurationError: for none, a malformed name, or one that is given twice.
    """
    names = (value,) if isinstance(value, str) else tuple(value or ())
    if not names:
        raise ConfigurationError(f"No {what}", "", f"Name the {what}: features are an allow-list.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(f"A name is given twice in {what}", repeated[0], "Leave one out.")
    return tuple(column_name(name, what) for name in names)


def microseconds(duration: str) -> int:
    """Return a duration as whole microseconds, the resolution at which times are compared."""
    return round(parse_duration(duration) * 1_000_000)
