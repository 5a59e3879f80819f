"""Stage 1, snapshot: rows of the warehouse as a versioned artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.duration import parse_duration
from airflow_ml.core.fingerprint import digest_json, format_time, parse_time
from airflow_ml.errors import ConfigurationError, EmptyDataset
from airflow_ml.hooks.warehouse import snapshot_source
from airflow_ml.links import QueryHistoryLink, SnapshotPageLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, task_names
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import TableFile
    from airflow_ml.core.snapshot import DatasetSnapshot

#: Wider tables than this are described by their Parquet file alone: the record is an XCom.
SHOWN_COLUMNS = 60


class SnapshotDatasetOperator(MLOperator):
    """Read a table or query as of one instant into a Parquet artifact.

    If the warehouse has Time Travel, the rows are those of ``as_of`` (tables, and queries with the placeholder ``{at}``
    after a table's name); elsewhere it is a plain read. The record's ``consistency`` says which.

    Retry, clear: read again as of the same instant. With Time Travel these are the same rows. The artifact is the same
    only if the query has an ORDER BY, since no warehouse promises an order without it. Kill, timeout: the statement is
    left to the warehouse's own timeout, nothing is stored.

    Args:
        sql: A SELECT, or the path of a ``.sql`` file beside the DAG file (templated). Values are bound as ``%(name)s``
            from ``parameters``, never inserted by Jinja; ``%(as_of)s`` is always bound.
        table: Instead of ``sql``: ``[[database.]schema.]table`` (templated).
        name: Name of the dataset. Default: the table's name, or the query file's, or the task's.
        parameters: Values to bind (templated).
        as_of: The instant as ISO 8601 with a zone, or an aware datetime (templated). Default: the run's ``run_after``
            minus ``delay``, since asset-triggered runs have no logical date.
        delay: How long rows take to arrive, e.g. ``"2h"`` (templated). Default none.
        min_rows: Fewer rows than this are an error. Default 1: an empty snapshot is of no use to a model.
        snowflake_conn_id: Airflow connection of the warehouse (templated).

    Raises:
        TableMissing, ColumnMissing, StatementFailed: as reported by the warehouse.
        EmptyDataset: fewer than ``min_rows`` rows.
    """

    template_fields: Sequence[str] = ("sql", "table", "name", "parameters", "as_of", "delay", "snowflake_conn_id")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql"}
    operator_extra_links = (TaskPageLink(), SnapshotPageLink(), QueryHistoryLink())
    ui_color = "#dbeafe"
    argument_rules = {
        "sql": rules.text(optional=True),
        "table": rules.text(optional=True),
        "name": rules.text(),
        "parameters": rules.mapping(),
        "as_of": rules.instant(),
        "delay": rules.duration(),
        "min_rows": rules.number(least=0, whole=True),
        "snowflake_conn_id": rules.text(),
    }

    def __init__(
        self,
        *,
        sql: str | None = None,
        table: str | None = None,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        as_of: str | datetime | None = None,
        delay: str = "0s",
        min_rows: int = 1,
        snowflake_conn_id: str = "snowflake_default",
        task_id: str = "snapshot",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        if (sql is None) == (table is None):
            raise ConfigurationError(
                "A snapshot reads either a query or a table",
                f"sql={sql!r}, table={table!r}",
                "Give exactly one of them.",
            )
        self.sql = sql
        self.table = table
        self.name = name if name is not None else _default_name(sql, table, self.task_id)
        self.parameters = plain(parameters) if parameters is not None else {}
        self.as_of = plain(as_of)
        self.delay = delay
        self.min_rows = min_rows
        self.snowflake_conn_id = snowflake_conn_id
        self.check_arguments()

    def run(self, context: Context) -> DatasetSnapshot:
        """Read, store and describe the rows."""
        as_of = resolve_as_of(context, as_of=self.as_of, delay=self.delay)
        source = snapshot_source(self.snowflake_conn_id)
        tag = task_names(context)
        with self.scratch() as folder:
            into = folder / "rows.parquet"
            if self.table is not None:
                found = source.read_table(self.table, columns=None, as_of=as_of, into=into, tag=tag)
            else:
                found = source.read(str(self.sql), self.parameters, as_of=as_of, into=into, tag=tag)
            snapshot = self._store(found, as_of)
        self.statement_id = snapshot.statement_id
        self.log.info(
            "%s: %s rows as of %s (%s), %s",
            self.name,
            f"{snapshot.rows:,}",
            format_time(as_of),
            snapshot.consistency,
            snapshot.artifact.digest,
        )
        return snapshot

    def _store(self, found: TableFile, as_of: datetime) -> DatasetSnapshot:
        from airflow_ml.core.snapshot import DatasetSnapshot

        if found.rows < self.min_rows:
            raise EmptyDataset(
                f"The snapshot {self.name!r} as of {format_time(as_of)} has too few rows",
                f"{found.rows} of at least {self.min_rows}",
                "Check the query, its as_of, and whether the table's load is late (delay=).",
            )
        columns = found.columns if len(found.columns) <= SHOWN_COLUMNS else ()
        artifact = self.store().put_file(found.path, format="parquet", rows=found.rows, columns=columns)
        return DatasetSnapshot(
            name=self.name,
            artifact=artifact,
            as_of=as_of,
            rows=found.rows,
            consistency=found.consistency,
            statement_id=found.statement_id,
            statement_digest=digest_json([self.sql or self.table, {k: str(v) for k, v in self.parameters.items()}]),
            source=f"snowflake:{self.snowflake_conn_id}",
        )


def resolve_as_of(context: Context, *, as_of: str | None, delay: str) -> datetime:
    """Return the instant that a task's data stands for (aware, UTC).

    Raises:
        ConfigurationError: ``as_of`` is not a time with a zone.
    """
    if as_of:
        try:
            return parse_time(str(as_of))
        except ValueError as error:
            raise ConfigurationError(
                "as_of is not a time", repr(as_of), "Write it like 2013-04-01T00:00:00Z."
            ) from error
    run = context["dag_run"]
    return parse_time(run.run_after.isoformat()) - timedelta(seconds=parse_duration(delay))


def _default_name(sql: str | None, table: str | None, task_id: str) -> str:
    if isinstance(table, str):
        return table.rpartition(".")[2].strip('"').lower()
    return Path(sql).stem if isinstance(sql, str) and sql.endswith(".sql") else task_id.rpartition(".")[2]


@with_arguments_of(SnapshotDatasetOperator)
def snapshot(**kwargs: Any) -> Any:
    """Build a `SnapshotDatasetOperator` from the same arguments and return its output."""
    return SnapshotDatasetOperator(**kwargs).output
