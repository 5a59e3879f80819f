"""Ending processes together with everything that they started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: Environment variable by which all processes that a runner started are found, whatever session they are in.
MARKER = "AIRFLOW_ML_RUNNER"


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none of them is lost (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Ask the kernel for SIGKILL when the thread that started this process ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process and its children started, as far as /proc tells, children first."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = list(children.get(pid, ()))
    while waiting:
        found.append(waiting.pop(0))
        waiting.extend(children.get(found[-1], ()))
    return found


def marked(value: str) -> list[int]:
    """Return the processes of this user, but for this one, whose environment holds the marker (Linux)."""
    wanted = f"{MARKER}={value}".encode()
    found = []
    for pid in _pids():
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes that may be gone already."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def send_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def end_marked(value: str, *, attempts: int = 5) -> None:
    """Kill all marked processes; again and again, since one of them may be starting another."""
    for _ in range(attempts):
        left = marked(value)
        if not left:
            return
        send(left, signal.SIGKILL)
        time.sleep(0.05)


def explain(status: int) -> str:
    """Return in words how a process ended, from the exit code of ``subprocess`` or ``os.waitstatus_to_exitcode``."""
    if status >= 0:
        return f"its process ended with exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = {"SIGKILL": " (often: out of memory)", "SIGSEGV": " (segmentation fault)", "SIGABRT": " (abort)"}.get(
        name, ""
    )
    return f"its process was killed by {name}{hint}"


def _prctl(option: int, argument: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)


def _pids() -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def _parents() -> Iterator[tuple[int, int]]:
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The second field is the command in parentheses and may hold anything; the parent is the second after it.
            yield pid, int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
