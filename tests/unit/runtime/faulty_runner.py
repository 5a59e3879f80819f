"""A shard's runner that has bad luck, by seed: ``python faulty_runner.py <job> <store> <seed> <die after> <log>``.

5 % of the results are delivered twice, the second time with another value; 1 % come so late that another worker on the
shard has committed its own; and the runner kills itself after some deliveries.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import TrialResult
from airflow_ml.runtime import shard
from airflow_ml.runtime.job import ShardJob
from airflow_ml.runtime.ledger import Ledger
from airflow_ml.runtime.pool import Ended, Pool
from airflow_ml.runtime.processes import adopt_orphans
from airflow_ml.runtime.worker import Task

DUPLICATE_SHARE, LATE_SHARE = 0.05, 0.01
#: Deliveries between a late result and its arrival.
LATE_BY = 30


class UnluckyPool(Pool):
    """A pool between which and the shard deliveries go wrong."""

    rival: Ledger
    luck: random.Random
    die_after: int
    #: Gets a letter for each fault: d, l.
    log: Any

    def run(self, tasks: Iterable[Task]) -> Iterator[Ended | None]:  # type: ignore[override]
        """Yield what the pool yields, with faults."""
        late: list[tuple[int, Ended]] = []
        delivered = 0
        for ended in super().run(tasks):
            if ended is None:
                yield None
                continue
            delivered += 1
            if delivered == self.die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            while late and late[0][0] <= delivered:
                yield late.pop(0)[1]
            if self.luck.random() < LATE_SHARE:
                self.log.write(b"l")
                self.rival.read()
                self.rival.add(TrialResult(trial=ended.task.name, status="succeeded", metrics={"score": 2.0}))
                self.rival.flush()
                late.append((delivered + LATE_BY, ended))
                continue
            yield ended
            if self.luck.random() < DUPLICATE_SHARE:
                self.log.write(b"d")
                yield replace(ended, status="succeeded", answer={"metrics": {"score": 3.0}})
        for _, ended in late:
            yield ended


def main(job_file: str, store_uri: str, seed: str, die_after: str, log: str) -> None:
    """Run the shard and print how many results were superseded."""
    job = ShardJob.from_dict(json.loads(Path(job_file).read_text()))
    store = open_store(store_uri)
    UnluckyPool.rival = Ledger(store, shard_ref(job.plan.sweep, job.shard, job.plan.shards), batch_seconds=1000.0)
    UnluckyPool.luck, UnluckyPool.die_after = random.Random(seed), int(die_after)
    UnluckyPool.log = Path(log).open("ab", buffering=0)  # noqa: SIM115 - as long as the process
    shard.Pool = UnluckyPool  # type: ignore[misc]
    adopt_orphans()
    outcome: Any = shard.execute_shard(job, store, log=lambda line: None, on_progress=lambda progress: None)
    print(outcome.superseded)


if __name__ == "__main__":
    main(*sys.argv[1:])
