"""The warehouse as a router: one row for each model, written by compare-and-swap, honoured by batch scoring."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_ml.core.arms import challengers_of
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON, decode, encode, parse_as
from airflow_ml.core.sql import ident
from airflow_ml.errors import AirflowMLError, FencedOut, RouterFailed

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore

TRAFFIC_TABLE = "AIRFLOW_ML_TRAFFIC"
_COLUMNS = '"MODEL" VARCHAR NOT NULL, "EPOCH" NUMBER(38, 0) NOT NULL, "TRAFFIC" VARCHAR NOT NULL'


class SqlRunner(Protocol):
    """A warehouse that runs one statement and gives all rows of its result."""

    def run(self, statement: str, values: Mapping[str, JSON | datetime], *, tag: Mapping[str, str]) -> list[Any]:
        """Run it with ``%(name)s`` bound; raises StatementFailed and the other errors of the warehouse."""


class WarehouseRouter:
    """Router port over a table of the warehouse.

    One ``MERGE`` sets a model's row if the row's epoch is not higher: the fence. Where two first writes of a model at
    the same moment leave two rows, the highest epoch counts, and each later write sets both. Batch scoring (`predict`
    with ``router_conn_id``) reads the row at the start of each batch, so a write is in effect for every batch that
    starts after it. It serves the champion from ``expires_at`` on, whoever is dead.

    Args:
        warehouse: Runs the statements.
        store: Holds the models; a variant that is not there is refused.
        table: The table, created at the first write.
    """

    def __init__(self, warehouse: SqlRunner, store: ArtifactStore, *, table: str = TRAFFIC_TABLE) -> None:
        self._warehouse = warehouse
        self._store = store
        self._table = ident(table)
        self._created = False

    def write(self, traffic: Traffic) -> None:
        """Set the division.

        Raises:
            FencedOut: the table holds a higher epoch.
            RouterFailed: the warehouse does not take it, or a variant's models are not in the store.
        """
        for variant in (traffic.champion, *challengers_of(traffic).values()):
            self._find(variant)
        self._create()
        self._run(
            f"MERGE INTO {self._table} AS t\n"  # noqa: S608 - an identifier
            "USING (SELECT %(model)s AS model, %(epoch)s AS epoch, %(traffic)s AS traffic) AS s\n"
            'ON t."MODEL" = s.model\n'
            'WHEN MATCHED AND t."EPOCH" <= s.epoch THEN UPDATE SET "EPOCH" = s.epoch, "TRAFFIC" = s.traffic\n'
            'WHEN NOT MATCHED THEN INSERT ("MODEL", "EPOCH", "TRAFFIC") VALUES (s.model, s.epoch, s.traffic)',
            {
                "model": traffic.model,
                "epoch": traffic.epoch,
                "traffic": json.dumps(encode(traffic), sort_keys=True, separators=(",", ":")),
            },
        )
        held = self.read(traffic.model)
        if held is not None and held.epoch > traffic.epoch:
            raise FencedOut(
                f"Traffic of {traffic.model} is held by epoch {held.epoch}",
                f"this write has epoch {traffic.epoch}",
                "Read the traffic and the rollout record again; a later write owns them.",
            )
        if held != traffic:
            raise RouterFailed(
                f"The warehouse holds another division of {traffic.model} than was written",
                f"{held.weight_percent if held else 'none'} in epoch {held.epoch if held else 'none'}",
                "Read the rollout record; another writer may own this model.",
            )

    def read(self, model: str) -> Traffic | None:
        """Return what is in effect; None where the table does not know the model.

        Raises:
            RouterFailed: the warehouse does not answer, or a row that is not traffic.
        """
        self._create()
        rows = self._run(
            f'SELECT "TRAFFIC" FROM {self._table} WHERE "MODEL" = %(model)s ORDER BY "EPOCH" DESC LIMIT 1',  # noqa: S608
            {"model": model},
        )
        if not rows:
            return None
        try:
            return cast(Traffic, decode(Traffic, json.loads(rows[0][0])))
        except (AirflowMLError, ValueError, TypeError) as error:
            raise RouterFailed(
                f"The traffic of {model} in the warehouse cannot be read", error, "Nobody but airflow_ml writes it."
            ) from error

    def _create(self) -> None:
        if not self._created:
            self._run(f"CREATE TABLE IF NOT EXISTS {self._table} ({_COLUMNS})", {})
            self._created = True

    def _find(self, variant: Mapping[str, JSON]) -> None:
        try:
            self._store.get_bytes(parse_as(Artifact, variant["models"]))
        except AirflowMLError as error:
            raise RouterFailed(
                f"Version {variant.get('version')} cannot be loaded", error, "Check that the store holds its models."
            ) from error

    def _run(self, statement: str, values: Mapping[str, JSON | datetime]) -> Sequence[Any]:
        try:
            return self._warehouse.run(statement, values, tag={"part": "rollout"})
        except AirflowMLError as error:
            problem = f"The warehouse did not do what a rollout needs: {error}"
            raise RouterFailed(problem, type(error).__name__, "See its own message.") from error
