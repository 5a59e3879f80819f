"""Models in processes of their own: a crash, a leak or a hang of one takes nothing else with it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError, CallFailed, RouterFailed
from airflow_ml.gateway.batch import Table
from airflow_ml.gateway.gather import Gather
from airflow_ml.gateway.processes import Child, ProcessDown, ProcessLost, Spawner

#: Importing pandas and scikit-learn on a busy machine takes seconds.
LOAD_TIMEOUT_SECONDS = 60.0
#: A process that answers nothing for this long while a batch waits is taken for hung and killed.
ANSWER_TIMEOUT_SECONDS = 10.0
#: Rows of several requests that are scored in one call. A call costs as much as some hundred rows; beyond that the
#: first of them would wait for the last and win nothing.
GATHERED_ROWS = 1000
_BACKOFF_SECONDS = (0.0, 0.2, 1.0, 5.0, 30.0)

_log = logging.getLogger("airflow_ml.gateway")


class ModelProcess:
    """A model that is kept up: its process is started again, with growing pauses, whenever it is lost."""

    def __init__(
        self, artifact: Artifact, spawner: Spawner, *, answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
    ) -> None:
        self.artifact = artifact
        #: Columns that every batch must hold; known once the model was loaded.
        self.columns: tuple[str, ...] = ()
        #: Those of them that the model takes as numbers.
        self.numbers: tuple[str, ...] = ()
        #: How often the process was lost.
        self.losses = 0
        self._spawner = spawner
        self._answer_timeout_seconds = answer_timeout_seconds
        self._child: Child | None = None
        self._up = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._users = 0
        self._gather: Gather[Table, Sequence[float | None]] = Gather(
            self._predict_all, limit=GATHERED_ROWS, final=(ProcessLost,)
        )
        self._supervisor = asyncio.create_task(self._supervise())

    @property
    def pid(self) -> int | None:
        """Process id, or None while the process is not up."""
        child = self._child
        return child.process.pid if child is not None and self._up.is_set() and not child.lost else None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the process from being unloaded while a request is on its way to it."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    async def loaded(self) -> None:
        """Return when the model is loaded for the first time.

        Raises:
            RouterFailed: it could not be loaded so far; it is tried again in the background.
        """
        await asyncio.shield(self._first)

    async def ready(self, patience_seconds: float) -> None:
        """Return when the process is up, waiting for one that is being started.

        Raises:
            ProcessDown: it was not up in time.
        """
        if self.pid is None:
            # The event of a process that was just lost is cleared by its supervisor, who may not have run yet.
            self._up.clear()
            try:
                await asyncio.wait_for(self._up.wait(), patience_seconds)
            except TimeoutError:
                raise ProcessDown("The model's process is not up") from None

    async def predict(self, table: Table, *, alone: bool = False) -> Sequence[float | None]:
        """Score a batch; None marks a score that is no finite number.

        Batches that come while the process is busy are scored in one call: a model that answers rows one by one does
        not notice, and a call costs far more than a row.

        Args:
            table: With each of ``columns``; further ones are ignored.
            alone: In a call of its own: after a process was lost, nobody knows by whose rows.

        Raises:
            ProcessLost: it died or hung; ProcessDown: it is not up.
            CallFailed: the model raised.
        """
        return await self._gather(table, GATHERED_ROWS if alone else table.rows)

    async def _predict_all(self, tables: Sequence[Table]) -> list[Sequence[float | None]]:
        child = self._child
        if child is None or self.pid is None:
            raise ProcessDown("The model's process is not up")
        rows = sum(table.rows for table in tables)
        names, numbers = [], bytearray()
        columns: dict[str, list[JSON]] = {}
        for name in self.columns:
            values: Sequence[JSON] = (
                tables[0].columns[name]
                if len(tables) == 1
                else [value for table in tables for value in table.columns[name]]
            )
            packed = _pack(values) if name in self.numbers else None
            if packed is None:
                columns[name] = list(values)
            else:
                names.append(name)
                numbers += packed
        question = {"rows": rows, "numbers": names, "columns": columns}
        answer, packed_scores = await child.ask(question, self._answer_timeout_seconds, bytes(numbers))
        scores = array("d", packed_scores[: len(packed_scores) // 8 * 8])
        if "error" in answer or len(scores) != rows:
            raise CallFailed("The model failed", answer.get("error", f"{len(scores)} scores for {rows} rows"))
        found: Sequence[float | None] = scores.tolist()
        if not math.isfinite(sum(scores)):  # cheap, and so nearly always all that is looked at
            found = [score if math.isfinite(score) else None for score in scores]
        ends = list(itertools.accumulate(table.rows for table in tables))
        return [found[end - table.rows : end] for end, table in zip(ends, tables, strict=True)]

    async def close(self) -> None:
        """Unload: wait for the requests under way, or until this is cancelled, then end the process."""
        try:
            while self._users:
                await asyncio.sleep(0.01)
        finally:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])

    async def _supervise(self) -> None:
        failures = 0
        try:
            while True:
                await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                try:
                    async with self._spawner.turn:
                        child = self._child = await self._start()
                except (AirflowMLError, OSError) as error:
                    _log.error("model %s cannot be loaded: %r", self.artifact.digest, str(error))
                    failures += 1
                    if not self._first.done():
                        self._first.set_exception(error)
                        self._first.exception()  # Whoever waits gets it; nobody need wait.
                    continue
                started_at = time.monotonic()
                self._up.set()
                if self._first.done():  # the first try failed, or it was lost since: what counts is that it loads now
                    self._first = asyncio.get_running_loop().create_future()
                self._first.set_result(None)
                await child.gone.wait()
                self._up.clear()
                self.losses += 1
                failures = 0 if time.monotonic() - started_at > 60 else failures + 1
                _log.warning("model process %d of %s was lost", child.process.pid, self.artifact.digest)
        finally:
            self._up.clear()
            if self._child is not None:
                await self._child.end()

    async def _start(self) -> Child:
        child = await self._spawner.take()
        try:
            answer, _ = await child.ask(self.artifact.to_dict(), LOAD_TIMEOUT_SECONDS)
            if "columns" not in answer:
                raise RouterFailed(
                    f"The model {self.artifact.digest} cannot be loaded",
                    answer.get("error", "no answer"),
                    "Check that the gateway opens the store that holds it and has the libraries it needs.",
                )
        except BaseException:
            await child.end()
            raise
        finally:
            self._spawner.prepare()
        self.columns, self.numbers = tuple(answer["columns"]), tuple(answer["numbers"])
        return child


def _pack(values: Sequence[Any]) -> bytes | None:
    """Return numbers as float64, null as NaN; None where one is something else, about which the model decides."""
    try:
        return array("d", values).tobytes()
    except (TypeError, OverflowError):
        try:
            return array("d", [math.nan if value is None else value for value in values]).tobytes()
        except (TypeError, OverflowError):
            return None
