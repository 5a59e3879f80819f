"""Run by test_store_crashes.py in an interpreter of its own: forks a child per seed, which is killed at a failpoint.

Usage: ``store_crash_worker.py <folder> <failpoint> <first seed> <seeds>``; prints what it saw as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_ml.adapters import folder_store
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core import failpoint
from airflow_ml.core.artifact import Artifact
from airflow_ml.runtime.store_check import check_store
from airflow_ml.runtime.store_gc import collect_garbage
from airflow_ml.testing.failpoints import Failpoints

#: The store's files are small here; the way of large ones begins at this size.
folder_store._SMALL_BYTES = 2000


def work(root: Path, seed: int) -> None:
    """Put, name, forget and collect: a life of a store, the same for the same seed."""
    chance, store, file = random.Random(seed), FolderStore(root), root.parent / f"file{seed}"
    for _ in range(6):
        data = chance.randbytes(chance.randrange(4000))
        if chance.random() < 0.5:
            file.write_bytes(data)
            artifact = store.put_file(file, format="parquet")
        else:
            artifact = store.put_bytes(data, format="bytes")
        if chance.random() < 0.7:
            ref = f"ref{chance.randrange(3)}"
            newest = store.latest(ref)
            store.append(ref, artifact.to_dict(), after=newest.sequence if newest else 0)
        elif chance.random() < 0.5:
            later = datetime.now(UTC) + timedelta(days=30)
            collect_garbage(store, now=later, dry_run=False)
            store.restore(artifact.digest)
    for _ in range(2):
        collect_garbage(store, now=datetime.now(UTC) + timedelta(days=30), dry_run=False)


def judge(root: Path) -> list[str]:
    """Return what is wrong with a store, as the next process finds it."""
    store, wrong = FolderStore(root), []
    found = check_store(store, now=lambda: datetime.now(UTC))
    wrong += [f"{finding.kind}: {finding.what}" for finding in found.findings]
    for ref in store.refs():
        for entry in store.history(ref):
            if entry.value.get("record") == "Artifact":
                store.get_bytes(Artifact.from_dict(entry.value))
    wrong += [f"set aside: {path.name}" for path in (root / "bad").iterdir()]
    return wrong


def one(folder: Path, name: str, seed: int) -> tuple[bool, list[str]]:
    """Kill a life at a failpoint, judge what it left, live it again and judge once more."""
    root = folder / f"{name}.{seed}"
    child = os.fork()
    if child == 0:
        try:
            failpoint.arm(Failpoints(f"{name}=kill@{random.Random(name + str(seed)).randrange(1, 3)}"))
            work(root, seed)
        except BaseException:
            traceback.print_exc()
            os._exit(9)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status:
        return killed, [f"the life itself failed with {status}"]
    wrong = judge(root)
    work(root, seed + 1)
    return killed, wrong + judge(root)


def main() -> None:
    """Do all seeds."""
    folder, name, first, seeds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    killed, wrong = 0, []
    for seed in range(first, first + seeds):
        died, found = one(folder, name, seed)
        killed += died
        wrong += [f"seed {seed}: {text}" for text in found]
    print(json.dumps({"killed": killed, "wrong": wrong}))


if __name__ == "__main__":
    main()
