"""What runs of a demo, noted in ``.demo/state.json`` so that another command can show it or end it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from airflow_ml.testing.child_process import ProcessId, running, stop

#: How long a process may take to end by itself.
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class DemoState:
    """One start of the demo's parts."""

    #: Value of ``ML_INSTANCE`` in each of its processes.
    marker: str
    #: The ``python -m demo run`` that will stop them; None where they stay up.
    owner: ProcessId | None
    processes: tuple[ProcessId, ...] = ()
    #: Address of each part.
    addresses: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the state; readable for its owner only."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> DemoState | None:
        """Read the state; None where there is none."""
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        return cls(
            marker=found["marker"],
            owner=ProcessId(**found["owner"]) if found["owner"] else None,
            processes=tuple(ProcessId(**one) for one in found["processes"]),
            addresses=found["addresses"],
        )

    def is_running(self) -> bool:
        """Say whether anything of it still runs."""
        known = [one for one in (self.owner, *self.processes) if one is not None]
        return any(one.find() is not None for one in known) or bool(running(self.marker))

    def stop(self) -> list[str]:
        """End the owner, who then stops its parts, and whatever is left; return what had to be killed."""
        killed = stop([self.owner], grace_seconds=GRACE_SECONDS * 2) if self.owner is not None else []
        return killed + stop(self.processes, marker=self.marker, grace_seconds=GRACE_SECONDS)


def this_process() -> ProcessId:
    """Return the running ``python -m demo``."""
    return ProcessId("demo", os.getpid(), psutil.Process().create_time())
