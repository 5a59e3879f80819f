"""Failpoints that hold a process until a test lets it go: the place where it is killed or frozen is then known.

A test arms a failpoint for the next process that passes it, waits until one has, does to it what it likes, and lets it
go. The processes read their orders from a folder, so they may be started by anybody, such as Airflow.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from airflow_ml.core import failpoint

#: The folder with the orders. `PYTHONPATH` must lead to the folder that `Stalls.hooks` names.
VARIABLE = "AIRFLOW_ML_STALLS"
_HELD_SECONDS = 200.0


class Stalls:
    """The test's side.

    Args:
        folder: Of the orders; made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hooks = folder / "hooks"
        self.hooks.mkdir(parents=True)
        # Every interpreter imports this module when it starts.
        (self.hooks / "sitecustomize.py").write_text(
            "from airflow_ml.testing.stalls import arm_from_environment\narm_from_environment()\n"
        )

    def environment(self) -> dict[str, str]:
        """Return what the processes need."""
        return {VARIABLE: str(self._folder), "PYTHONPATH": str(self.hooks)}

    def arm(self, point: str) -> None:
        """Hold the next process that passes a failpoint."""
        (self._folder / f"{point}.armed").touch()

    def held(self, point: str) -> int | None:
        """Return the process that is held at a failpoint, None where none has come there yet."""
        found = list(self._folder.glob(f"{point}.held-*"))
        return int(found[0].name.rpartition("-")[2]) if found else None

    def release(self) -> None:
        """Let all go, and hold nobody any more."""
        for path in [*self._folder.glob("*.armed"), *self._folder.glob("*.held-*")]:
            path.unlink(missing_ok=True)


def arm_from_environment() -> None:
    """Obey the orders in the folder that ``AIRFLOW_ML_STALLS`` names, for the rest of this process."""
    folder = os.environ.get(VARIABLE)
    if folder:
        failpoint.arm(_Hold(Path(folder)))


class _Hold:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> None:
        held = self._folder / f"{name}.held-{os.getpid()}"
        try:
            (self._folder / f"{name}.armed").rename(held)  # one process gets it
        except OSError:
            return
        deadline = time.monotonic() + _HELD_SECONDS
        while held.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
