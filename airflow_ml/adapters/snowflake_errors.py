"""Maps errors of the Snowflake connector to errors of this package."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from airflow_ml.errors import ColumnMissing, SourceError, StatementFailed, TableMissing

#: "Object does not exist or not authorized."
_NO_OBJECT = 2003
#: "Invalid identifier": a column.
_NO_COLUMN = 904
#: "Time travel data is not available": before the retention period, or before the table was made.
_NO_HISTORY = {707, 1421}

_OBJECT = re.compile(r"(?:Object|Table|View|Schema|Database) '([^']+)'|Table with name \"?([^\s\"]+)\"? does not exist")
_COLUMN = re.compile(
    r"invalid identifier '([^']+)'"
    r"|Referenced (?:table )?column \"([^\"]+)\" not found"
    r"|does not have a column (?:named|with name) \"([^\"]+)\"",
    re.IGNORECASE,
)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the connector's errors inside the block as ours.

    Args:
        doing: What was tried, for the message: ``"Reading flights"``.

    Raises:
        TableMissing, ColumnMissing: with the name; not retryable.
        StatementFailed: anything else, with the server's words and the statement's id.
    """
    import snowflake.connector.errors

    try:
        yield
    except snowflake.connector.errors.Error as error:
        message = str(error.raw_msg or error.msg or error)
        raise source_error(doing, message, number=error.errno, statement_id=error.sfqid or "") from error


def source_error(doing: str, message: str, *, number: int | None = None, statement_id: str = "") -> SourceError:
    """Return the error of this package for what a server said; Snowflake's words and DuckDB's are understood.

    Args:
        doing: What was tried.
        message: The server's words.
        number: Snowflake's error number.
        statement_id: To find the statement in the server's history.
    """
    words = re.sub(r"\s+", " ", message).strip()[:1000]
    actual = f"{words} (statement {statement_id})" if statement_id else words
    column = _COLUMN.search(words)
    if number == _NO_COLUMN or column:
        name = next((group for group in column.groups() if group), "") if column else ""
        return ColumnMissing(
            f"{doing}: a column does not exist" + (f", {name.lower()}" if name else ""),
            actual,
            "Correct the name, or add the column to the table.",
        )
    table = _OBJECT.search(words)
    if number in (_NO_OBJECT, None) and table:
        name = next(group for group in table.groups() if group)
        return TableMissing(
            f"{doing}: the table {name} does not exist, or the connection's role may not read it",
            actual,
            "Correct the name (database.schema.table), or grant SELECT on it to the role.",
        )
    if number in _NO_HISTORY or "time travel data is not available" in words.lower():
        return StatementFailed(
            f"{doing}: the warehouse no longer, or not yet, has the table as of that instant",
            actual,
            "Choose a later as_of, or raise DATA_RETENTION_TIME_IN_DAYS of the table.",
        )
    return StatementFailed(f"{doing}: the warehouse refused or lost the statement", actual, "See the message.")
