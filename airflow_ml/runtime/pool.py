"""Workers that execute tasks side by side; the runner owns their time limits and their end."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from airflow_ml.runtime.output import LineLog
from airflow_ml.runtime.processes import descendants, explain, send
from airflow_ml.runtime.worker import Execute, Task, Worker, start_worker

#: Between SIGTERM and SIGKILL at a time limit: long enough to write a checkpoint, short within timeout + 10 s.
GRACE_SECONDS = 3.0
#: Output of one task that is shown.
TASK_OUTPUT_BYTES = 64 * 1024
#: For an idle worker, which ends when its channel does.
_IDLE_SECONDS = 0.5
_TICK_SECONDS = 0.1
#: Workers that may die before they begin a task, until it counts as killed.
TRIES_TO_BEGIN = 3


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: ``succeeded``, ``failed`` (it raised), ``timed_out`` or ``killed`` (its process died)."""

    task: Task
    status: str
    #: What the task returned; for a failure its ``reason`` and ``traceback``.
    answer: dict[str, Any]
    seconds: float


class Stopped(Exception):
    """The runner was told to stop, or whoever started it is gone."""


class Pool:
    """A fixed number of workers; one that dies or hangs takes only its task with it, and is replaced.

    Args:
        execute: Runs in the workers.
        workers: How many.
        timeout_seconds: Of each task; None for no limit.
        log: Called with each line of the tasks' output.
        close: Further file descriptors that workers must not hold.
        output_bytes: Output of one task that is shown.
    """

    def __init__(
        self,
        execute: Execute,
        *,
        workers: int,
        timeout_seconds: float | None,
        log: Callable[[str], None],
        close: Iterable[int] = (),
        output_bytes: int = TASK_OUTPUT_BYTES,
    ) -> None:
        self._execute = execute
        self._count = workers
        self._timeout = timeout_seconds
        self._log = log
        self._close = list(close)
        self._output_bytes = output_bytes
        self._selector = selectors.DefaultSelector()
        self._workers: list[Worker] = []
        self._waiting: deque[Task] = deque()
        self._skipped: set[str] = set()
        self.stopping = False
        #: Between SIGTERM and SIGKILL when all is ended: for a last checkpoint. Without one a worker ends at once.
        self.stop_seconds = GRACE_SECONDS
        #: Called about ten times a second, to look whether there is a reason to stop.
        self.on_tick: Callable[[], None] = lambda: None
        self._ticked = 0.0

    def skip(self, names: Iterable[str]) -> None:
        """Take tasks that have not begun off the list."""
        self._skipped.update(names)

    def add(self, task: Task, *, next: bool) -> None:
        """Take another task while the pool runs, to the front or the end of those that wait."""
        if next:
            self._waiting.appendleft(task)
        else:
            self._waiting.append(task)
        if len(self._workers) < self._count and all(worker.task is not None for worker in self._workers):
            self._add_worker()  # one has died when nothing was waiting

    def run(self, tasks: Iterable[Task]) -> Generator[Ended | None, None, None]:
        """Yield each task's end as it happens, and None about ten times a second in between; closed, all workers end.

        Raises:
            Stopped: ``stopping`` was set; what had not ended then has not happened.
        """
        self._waiting.extend(tasks)
        try:
            for _ in range(min(self._count, len(self._waiting))):
                self._add_worker()
            while self._assign():
                self._tick()
                if self.stopping:
                    raise Stopped
                ended = self._step()
                yield from ended
                if not ended:
                    yield None
        finally:
            self._end_all()

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._ticked >= _TICK_SECONDS:
            self._ticked = now
            self.on_tick()

    def _assign(self) -> bool:
        """Give tasks to idle workers; tell whether anything is still running."""
        for worker in self._workers:
            while worker.task is None and not worker.terminated and self._waiting:
                task = self._waiting.popleft()
                if task.name not in self._skipped:
                    lines = LineLog(self._log, limit_bytes=self._output_bytes, prefix=task.prefix)
                    worker.give(task, lines=lines, timeout_seconds=self._timeout)
        return bool(self._waiting) or any(worker.task is not None for worker in self._workers)

    def _step(self) -> list[Ended]:
        ready = self._selector.select(_TICK_SECONDS)
        touched = {id(key.data): key.data for key, _ in ready}
        for worker in touched.values():
            if not worker.read_output():  # the user's code closed it
                self._unregister(worker.output)
        now = time.monotonic()
        ended: list[Ended] = []
        for worker in list(self._workers):
            # Messages are read of those that have one; deaths and deadlines are looked for everywhere.
            message = worker.read_message() if id(worker) in touched else None
            if message is not None:
                ended += self._finish(worker, str(message.pop("status")), message)
                continue
            self._enforce(worker, now)
            status = worker.exit_status() if id(worker) in touched or not ready else None
            if status is not None:
                ended += self._bury(worker, status)
        return ended

    def _enforce(self, worker: Worker, now: float) -> None:
        if worker.task is None or worker.deadline is None or now < worker.deadline:
            return
        worker.end(signal.SIGKILL if worker.terminated else signal.SIGTERM)
        worker.terminated, worker.deadline = True, now + GRACE_SECONDS

    def _finish(self, worker: Worker, status: str, answer: dict[str, Any]) -> list[Ended]:
        worker.read_output()
        if worker.lines is not None:
            worker.lines.end()
        task, worker.task, worker.lines = worker.task, None, None
        if task is None:
            return []
        seconds = float(answer.pop("seconds", time.monotonic() - worker.started))
        if (
            worker.terminated
        ):  # it ended by itself after SIGTERM: too late is too late, and the worker is not to be trusted
            status, answer = "timed_out", {**worker.noted, "reason": self._late()}
            worker.end(signal.SIGKILL)
        return [Ended(task, status, answer, seconds)]

    def _bury(self, worker: Worker, status: int) -> list[Ended]:
        """Account for a dead worker and put another in its place."""
        message = worker.read_message()
        if self._take_back(worker):
            ended = []
        elif message is not None and not worker.terminated:
            ended = self._finish(worker, str(message.pop("status")), message)
        else:
            answer = {**worker.noted, "reason": self._late() if worker.terminated else explain(status)}
            ended = self._finish_dead(worker, answer)
        worker.end(signal.SIGKILL)  # what it started and left behind
        self._forget(worker)
        if self._waiting:
            self._add_worker()
        return ended

    def _take_back(self, worker: Worker) -> bool:
        """Put a task that its worker did not even begin in front again, unless no worker begins it."""
        task = worker.task
        if task is None or worker.begun[0] or worker.terminated or task.returned >= TRIES_TO_BEGIN:
            return False
        task.returned += 1
        worker.task = worker.lines = None
        self._waiting.appendleft(task)
        return True

    def _finish_dead(self, worker: Worker, answer: dict[str, Any]) -> list[Ended]:
        status = "timed_out" if worker.terminated else "killed"
        worker.terminated = False
        return self._finish(worker, status, {**answer, "seconds": time.monotonic() - worker.started})

    def _late(self) -> str:
        return f"took longer than {self._timeout:g} s"

    def _add_worker(self) -> None:
        held = [self._selector.fileno()] if hasattr(self._selector, "fileno") else []
        for other in self._workers:
            held += [other.channel.fileno(), other.output, *([other.pidfd] if other.pidfd is not None else [])]
        worker = start_worker(self._execute, close=[*self._close, *held])
        for item in (worker.channel, worker.output, worker.pidfd):
            if item is not None:
                self._selector.register(item, selectors.EVENT_READ, worker)
        self._workers.append(worker)

    def _forget(self, worker: Worker) -> None:
        for item in (worker.channel, worker.output, worker.pidfd):
            self._unregister(item)
        worker.close()
        self._workers.remove(worker)

    def _unregister(self, item: socket.socket | int | None) -> None:
        if item is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(item)

    def _end_all(self) -> None:
        """End all workers and everything that was started by them, idle ones politely."""
        for worker in self._workers:
            if worker.task is None:
                worker.channel.shutdown(socket.SHUT_WR)
            else:
                worker.end(signal.SIGTERM)
        busy = any(worker.task is not None for worker in self._workers)
        limit = time.monotonic() + (self.stop_seconds if busy else _IDLE_SECONDS)
        while any(worker.exit_status() is None for worker in self._workers) and time.monotonic() < limit:
            time.sleep(0.005)
        for worker in list(self._workers):
            worker.end(signal.SIGKILL)
            self._forget(worker)
        self._selector.close()
        end_orphans()


def end_orphans() -> None:
    """Kill whatever this process has adopted."""
    for _ in range(20):
        left = descendants(os.getpid())
        if not left:
            return
        send(left, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)
