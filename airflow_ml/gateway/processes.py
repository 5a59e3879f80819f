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
from typing import Any, cast

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


class Child(asyncio.Protocol):
    """One running process and the connection to it; it is asked one question at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        #: Set before who waits for an answer learns of the loss.
        self.lost = False
        #: Whether the process is gone.
        self.gone = asyncio.Event()
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[Any, bytes]] | None = None

    async def ask(self, message: object, timeout_seconds: float, numbers: bytes = b"") -> tuple[Any, bytes]:
        """Send a frame and return the answer, and the numbers that came with it.

        Raises:
            ProcessLost: the process died, or was killed because it did not answer for ``timeout_seconds``; ProcessDown
                where it was dead before.
        """
        if self.lost:
            raise ProcessDown("The model's process died", f"pid {self.process.pid}")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Any, bytes]] = loop.create_future()
        self._answer = answer
        self._transport.write(encode_frame(message, numbers))
        watch = loop.call_later(timeout_seconds, self._hangs, timeout_seconds)
        try:
            return await answer
        finally:
            watch.cancel()

    def kill(self) -> None:
        """End the process and whatever it started; it holds nothing worth a farewell."""
        if self.process.returncode is not None:
            return  # It is reaped; its number may be somebody else's by now.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill the process and return when it is gone."""
        self.kill()
        await self.gone.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop, as are the next two."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give the answer to who asked, once it is whole."""
        received = self._received
        received += data
        if len(received) < HEADER.size:
            return
        size, numbers_size = HEADER.unpack_from(received)
        missing = HEADER.size + size + numbers_size - len(received)
        if missing > 0:
            return
        try:
            if missing < 0 or self._answer is None or self._answer.done():
                raise ValueError("an answer that nobody asked for")
            found = json.loads(received[HEADER.size : HEADER.size + size])
        except ValueError as error:
            _log.warning("model process %d is out of step and is killed: %s", self.process.pid, error)
            self._transport.abort()
        else:
            self._answer.set_result((found, bytes(received[HEADER.size + size :])))
        received.clear()

    def connection_lost(self, error: Exception | None) -> None:
        """End the process, whatever it is doing."""
        self.lost = True
        self.kill()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ProcessLost("The model's process died", f"pid {self.process.pid}"))
        self._reaping = asyncio.create_task(self._reap())

    async def _reap(self) -> None:
        await asyncio.to_thread(self.process.wait)
        self.gone.set()

    def _hangs(self, seconds: float) -> None:
        _log.warning("model process %d did not answer for %.0f s and is killed", self.process.pid, seconds)
        self.kill()


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
                if not child.lost:
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
            _, child = await asyncio.get_running_loop().create_connection(lambda: Child(process), sock=ours)
        except BaseException:
            ours.close()  # A process that was started meanwhile reads the end of the stream and leaves.
            raise
        return child


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
