"""Models in processes of their own: a crash, a leak or a hang of one takes nothing else with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import AirflowMLError, CallFailed, RouterFailed
from airflow_ml.gateway.worker import HEADER, encode_frame

#: Importing pandas and scikit-learn on a busy machine takes seconds.
LOAD_TIMEOUT_SECONDS = 60.0
#: A process that answers nothing for this long while a batch waits is taken for hung and killed.
ANSWER_TIMEOUT_SECONDS = 10.0
_BACKOFF_SECONDS = (0.0, 0.2, 1.0, 5.0, 30.0)

_log = logging.getLogger("airflow_ml.gateway")


class ProcessLost(CallFailed):
    """The model's process died, hung, or is not up; the same batch elsewhere may succeed."""


class _Child:
    """One running process and the connection to it; answers come in the order of the questions."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader, self._writer = reader, writer
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._progress_at = time.monotonic()
        self.task = asyncio.create_task(self._read())

    async def ask(self, message: object, timeout_seconds: float) -> Any:
        """Send a frame and return the answer.

        Raises:
            ProcessLost: the process died, or was killed because it made no progress for ``timeout_seconds``.
        """
        if self.task.done():
            raise ProcessLost("The model's process died")
        if not self._waiting:
            self._progress_at = time.monotonic()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._writer.write(encode_frame(message))
        while True:
            done, _ = await asyncio.wait([future], timeout=timeout_seconds)
            if done:
                return future.result()
            if time.monotonic() - self._progress_at >= timeout_seconds:
                _log.warning(
                    "model process %d made no progress for %.0f s and is killed", self.process.pid, timeout_seconds
                )
                self.kill()

    def kill(self) -> None:
        """End the process and whatever it started; it holds nothing worth a farewell."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill the process and return when it is gone."""
        self.kill()
        await asyncio.wait([self.task])

    async def _read(self) -> None:
        try:
            while True:
                (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                answer = json.loads(await self._reader.readexactly(size))
                self._progress_at = time.monotonic()
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(answer)
        except (OSError, EOFError, ValueError, IndexError):
            pass  # The stream ended or is out of step: either way this process is done with.
        finally:
            self.kill()
            self._writer.close()
            for future in self._waiting:
                if not future.done():
                    future.set_exception(ProcessLost("The model's process died", f"pid {self.process.pid}"))
            await asyncio.to_thread(self.process.wait)


class ModelProcess:
    """A model that is kept up: its process is started again, with growing pauses, whenever it is lost."""

    def __init__(
        self, artifact: Artifact, store_uri: str, *, answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
    ) -> None:
        self.artifact = artifact
        #: Columns that every batch must hold; known once the model was loaded.
        self.columns: tuple[str, ...] = ()
        #: How often the process was lost.
        self.losses = 0
        self._store_uri = store_uri
        self._answer_timeout_seconds = answer_timeout_seconds
        self._child: _Child | None = None
        self._up = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._users = 0
        self._supervisor = asyncio.create_task(self._supervise())

    @property
    def pid(self) -> int | None:
        """Process id, or None while the process is not up."""
        return self._child.process.pid if self._child is not None and self._up.is_set() else None

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
            RouterFailed: it cannot be loaded.
        """
        await asyncio.shield(self._first)

    async def ready(self, patience_seconds: float) -> None:
        """Return when the process is up, waiting for one that is being started.

        Raises:
            ProcessLost: it was not up in time.
        """
        if not self._up.is_set():
            try:
                await asyncio.wait_for(self._up.wait(), patience_seconds)
            except TimeoutError:
                raise ProcessLost("The model's process is not up") from None

    async def predict(self, columns: Mapping[str, Sequence[Any]]) -> list[float | None]:
        """Score a batch; None marks a score that is no finite number.

        Args:
            columns: Values of each of ``columns``, all of one length.

        Raises:
            ProcessLost: it is not up, died, or hung.
            CallFailed: the model raised.
        """
        if self._child is None or not self._up.is_set():
            raise ProcessLost("The model's process is not up")
        answer = await self._child.ask({"columns": columns}, self._answer_timeout_seconds)
        rows = len(next(iter(columns.values()), ()))
        scores = answer.get("scores")
        if scores is None or len(scores) != rows:
            raise CallFailed("The model failed", answer.get("error", f"{len(scores or ())} scores for {rows} rows"))
        return list(scores)

    async def close(self, *, drain_seconds: float = 5.0) -> None:
        """Unload: wait for the requests under way, then end the process."""
        deadline = time.monotonic() + drain_seconds
        while self._users and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._supervisor

    async def _supervise(self) -> None:
        failures = 0
        try:
            while True:
                await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                try:
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
                if not self._first.done():
                    self._first.set_result(None)
                await asyncio.wait([child.task])
                self._up.clear()
                self.losses += 1
                failures = 0 if time.monotonic() - started_at > 60 else failures + 1
                _log.warning("model process %d of %s was lost", child.process.pid, self.artifact.digest)
        finally:
            self._up.clear()
            if self._child is not None:
                await self._child.end()

    async def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.to_thread(_spawn, theirs.fileno(), self._store_uri)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()  # A process that was started meanwhile reads the end of the stream and leaves.
            raise
        child = _Child(process, reader, writer)
        try:
            answer = await child.ask(self.artifact.to_dict(), LOAD_TIMEOUT_SECONDS)
            if "columns" not in answer:
                raise RouterFailed(
                    f"The model {self.artifact.digest} cannot be loaded",
                    answer.get("error", "no answer"),
                    "Check that the gateway opens the store that holds it and has the libraries it needs.",
                )
        except BaseException:
            await child.end()
            raise
        self.columns = tuple(answer["columns"])
        return child


def _spawn(fd: int, store_uri: str) -> subprocess.Popen[bytes]:
    # The model sees neither the gateway's token nor anything of Airflow's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    # Batches are small and the cores shared: more threads than one cost more than they give.
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.Popen(
        [sys.executable, "-m", "airflow_ml.gateway.worker", str(fd), store_uri],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(fd,),
        env=environment,
        start_new_session=True,
    )
