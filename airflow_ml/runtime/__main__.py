"""The runner: ``python -m airflow_ml.runtime <job file>``.

The job file is ``{"store", "job", "control", "scratch"}``: the store's address, a ``ShardJob``, a call with its time
limit or many calls, the number of the socket to whoever started the runner (null on its own), and its scratch folder.
Exit codes: 0 done, 64 the job cannot be read, 70 the runner failed, 143 it was stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_ml.core.record import Record, parse
from airflow_ml.runtime.call import CallJob, execute_call
from airflow_ml.runtime.calls import CallsJob, execute_calls
from airflow_ml.runtime.cpus import available_cpus
from airflow_ml.runtime.job import ShardJob
from airflow_ml.runtime.pool import Pool, Stopped, end_orphans
from airflow_ml.runtime.processes import adopt_orphans
from airflow_ml.runtime.shard import execute_shard
from airflow_ml.runtime.work import read_work

DONE, BAD_JOB, FAILED, STOPPED = 0, 64, 70, 143


class Control:
    """The socket to whoever started the runner: messages go up, and its end is our end."""

    def __init__(self, descriptor: int | None, scratch: str | None) -> None:
        self._socket = socket.socket(fileno=descriptor) if descriptor is not None else None
        self._scratch = scratch
        self._pool: Pool | None = None
        self._stopping = False
        self.descriptors = [descriptor] if descriptor is not None else []
        signal.signal(signal.SIGTERM, lambda number, frame: self.stop())
        signal.signal(signal.SIGINT, lambda number, frame: self.stop())

    def watch(self, pool: Pool) -> None:
        """Stop this pool when the runner is told to stop."""
        self._pool = pool
        pool.stopping = self._stopping
        pool.on_tick = self._look

    def send(self, record: Record) -> None:
        """Send a record up; nobody may be there any more."""
        if self._socket is not None:
            try:
                self._socket.sendall(json.dumps(record.to_dict()).encode() + b"\n")
            except OSError:
                self.stop()

    def stop(self) -> None:
        """Stop the pool, now or as soon as there is one."""
        self._stopping = True
        if self._pool is not None:
            self._pool.stopping = True

    def _look(self) -> None:
        if self._socket is None:
            return
        try:
            ended = self._socket.recv(1, socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._orphaned()

    def _orphaned(self) -> None:
        """Whoever started us is gone: nobody reads the log any more, nor cleans up after us."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        self.stop()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Run one job."""
    try:
        job: Mapping[str, Any] = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        control = Control(job.get("control"), job.get("scratch"))
        work = parse(job["job"])
    except Exception:
        traceback.print_exc()
        return BAD_JOB
    adopt_orphans()
    try:
        _run(work, str(job["store"]), control)
    except Stopped:
        return STOPPED
    except Exception:
        traceback.print_exc()
        return FAILED
    finally:
        end_orphans()
    return DONE


def _run(work: Record, store_uri: str, control: Control) -> None:
    from airflow_ml.adapters.object_store import open_store

    if isinstance(work, ShardJob):
        outcome = execute_shard(
            work,
            open_store(store_uri),
            log=_say,
            on_progress=control.send,
            close=control.descriptors,
            started=control.watch,
        )
        control.send(outcome)
    elif isinstance(work, CallJob):
        execute_call(work, store_uri, log=_say, close=control.descriptors, started=control.watch)
    elif isinstance(work, CallsJob):
        store = open_store(store_uri)
        calls = [item for item in read_work(store.get_bytes(work.work)) if isinstance(item, CallJob)]
        execute_calls(
            calls,
            store,
            facts=work.facts,
            log=_say,
            started=control.watch,
            workers=work.workers or available_cpus(),
            close=control.descriptors,
        )
    else:
        raise TypeError(f"Not a job for a runner: {type(work).__name__}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("The runner forks and takes signals: start it as a process of its own.")
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread of the user's libraries must not keep the runner
