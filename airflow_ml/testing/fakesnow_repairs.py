"""What fakesnow 0.12 does otherwise than Snowflake, where it matters here: mended inside the local warehouse."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def apply() -> None:
    """Mend fakesnow in this process, before its server starts."""
    refuse_as_snowflake_does()
    keep_null_times()
    join_as_of()


def refuse_as_snowflake_does() -> None:
    """Turn every error below a cursor into the connector's own, which the server sends as an answer.

    Fakesnow answers HTTP 500, which the connector takes for a passing fault and repeats until its network timeout.
    """
    import snowflake.connector.errors
    from fakesnow.cursor import FakeSnowflakeCursor

    def refusing(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except snowflake.connector.errors.Error:
                raise
            except Exception as error:
                message = f"{type(error).__name__}: {error}"[:2000]
                # 000002 and 0A000 are Snowflake's codes of an unsupported feature.
                raise snowflake.connector.errors.ProgrammingError(msg=message, errno=2, sqlstate="0A000") from error

        return run

    for name in ("execute", "_describe_last_sql", "_describe_only"):
        setattr(FakeSnowflakeCursor, name, refusing(getattr(FakeSnowflakeCursor, name)))


def keep_null_times() -> None:
    """Mark null timestamps as null in the struct in which they travel.

    Fakesnow leaves the struct itself valid, so the connector's Arrow reader gives 1970-01-01 for every null.
    """
    import fakesnow.arrow
    import pyarrow as pa

    original = fakesnow.arrow.timestamp_to_sf_struct

    def with_nulls(times: pa.Array | pa.ChunkedArray) -> pa.StructArray:
        whole = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
        struct = original(whole.fill_null(0))
        return pa.StructArray.from_arrays(struct.flatten(), fields=list(struct.type), mask=whole.is_null())

    fakesnow.arrow.timestamp_to_sf_struct = with_nulls


def join_as_of() -> None:
    """Write Snowflake's ``ASOF JOIN ... MATCH_CONDITION (...)``, which keeps unmatched rows, as DuckDB does.

    Fakesnow hands the clause to DuckDB as it is, which does not know it.
    """
    from fakesnow.cursor import FakeSnowflakeCursor
    from sqlglot import exp

    original = FakeSnowflakeCursor._transform

    def as_duckdb(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Join) and (match := node.args.get("match_condition")):
            node.set("match_condition", None)
            node.set("side", "LEFT")
            node.set("on", exp.and_(node.args["on"], match))
        return node

    @functools.wraps(original)
    def transformed(self: FakeSnowflakeCursor, expression: exp.Expression, *args: Any, **kwargs: Any) -> Any:
        return original(self, expression, *args, **kwargs).transform(as_duckdb, copy=False)

    FakeSnowflakeCursor._transform = transformed
