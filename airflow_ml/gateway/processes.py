"""Model processes as seen from the gateway: starting them ahead of need, asking them, ending them."""

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
from typing import Any

from airflow_ml.errors import CallFailed
from airflow_ml.gateway.worker import HEADER, encode_frame
from airflow_ml.runtime.environment import allowed_environment

#: Models that load at the same time: more of them take the processors from each other, until none is loaded in time.
LOADING = 4

_log = logging.getLogger("airflow_ml.gateway")


class ProcessLost(CallFailed):
    """The model's process died or hung with a batch; the same batch elsewhere may succeed."""


class ProcessDown(ProcessLost):
    """The model's process is not up: it was not asked."""


class Child:
    """One running process and the connection to it; answers come in the order of the questions."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader, self._writer = reader, writer
        self._waiting: deque[asyncio.Future[tuple[Any, bytes]]] = deque()
        self._progress_at = time.monotonic()
        #: Set before anybody who waits for an answer learns of the loss.
        self.lost = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    async def ask(self, message: object, timeout_seconds: float, numbers: bytes = b"") -> tuple[Any, bytes]:
        """Send a frame and return the answer, and the numbers that came with it.

        Raises:
            ProcessLost: the process died, or was killed because it made no progress for ``timeout_seconds``;
                ProcessDown where it was dead before.
        """
        if self.lost.is_set():
            raise ProcessDown("The model's process died", f"pid {self.process.pid}")
        if not self._waiting:
            self._progress_at = time.monotonic()
        future: asyncio.Future[tuple[Any, bytes]] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(encode_frame(message, numbers))
        except (OSError, RuntimeError) as error:  # The loop saw the end of the stream before our reader did.
            raise ProcessDown("The model's process died", f"pid {self.process.pid}") from error
        self._waiting.append(future)
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
        if self.process.returncode is not None:
            return  # It is reaped; its number may be somebody else's by now.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill the process and return when it is gone."""
        self.kill()
        await asyncio.wait([self.task])

    async def _read(self) -> None:
        try:
            while True:
                size, numbers_size = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                body = await self._reader.readexactly(size + numbers_size)
                answer = json.loads(body[:size]), body[size:]
                self._progress_at = time.monotonic()
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(answer)
        except (OSError, EOFError, ValueError, IndexError):
            pass  # The stream ended or is out of step: either way this process is done with.
        finally:
            self.lost.set()
            self.kill()
            self._writer.close()
            for future in self._waiting:
                if not future.done():
                    future.set_exception(ProcessLost("The model's process died", f"pid {self.process.pid}"))
            await asyncio.to_thread(self.process.wait)


class Spawner:
    """Starts processes that open one store, and keeps one ahead: importing pandas and scikit-learn takes seconds.

    The one in waiting costs the memory of these libraries; a lost model is back in a fraction of the time for it.
    """

    def __init__(self, store_uri: str) -> None:
        self._store_uri = store_uri
        self._next: asyncio.Task[Child] | None = None
        #: Held by whoever starts a process and loads a model.
        self.turn = asyncio.Semaphore(LOADING)

    async def take(self) -> Child:
        """Return a process that awaits its model; raises OSError."""
        ahead, self._next = self._next, None
        if ahead is not None:
            with contextlib.suppress(OSError):
                child = await ahead
                if not child.lost.is_set():
                    return child
        return await self._start()

    def prepare(self) -> None:
        """Start the next process in the background, unless there is one."""
        if self._next is None:
            self._next = asyncio.create_task(self._start())

    async def close(self) -> None:
        """End the process in waiting."""
        if self._next is not None:
            with contextlib.suppress(OSError):
                await (await self._next).end()

    async def _start(self) -> Child:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.to_thread(_spawn, theirs.fileno(), self._store_uri)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()  # A process that was started meanwhile reads the end of the stream and leaves.
            raise
        return Child(process, reader, writer)


def _spawn(fd: int, store_uri: str) -> subprocess.Popen[bytes]:
    # A model is user code: it sees neither the gateway's token nor any other secret that was set for the gateway.
    environment = allowed_environment(os.environ, store_uri=store_uri)
    # Batches are small and the cores shared: more threads than one cost more than they give.
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "airflow_ml.gateway.worker", str(fd), store_uri],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(fd,),
        env=environment,
        start_new_session=True,
    )
