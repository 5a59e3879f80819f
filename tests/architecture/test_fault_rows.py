"""Every row of the catalogue of faults that concerns remote work has a test, which names it: ``@pytest.mark.fault``.

| row | what goes wrong |
|---|---|
| K1 | a name is taken on create: one's own job is adopted, another's is an error |
| K2 | a list's token is too old, a connection is cut or silent: read again, nothing is missed |
| K3 | the API is busy: waited for as it asks, up to a deadline |
| K4 | evicted, preempted, node lost: begun again, not counted |
| K5 | an image cannot be pulled: fails fast, in the registry's words |
| K6 | no node takes a pod: waits as long as it may, then the scheduler's words and what is free |
| K7 | pod and result disagree: the result decides |
| K8 | a job is removed: what it had committed counts, the rest is lost |
| K9 | some indexes fail: the others go on, the share that must succeed is explicit |
| K10 | a log cannot be read: never fails a task |
| K11 | a deferred task is killed: its trigger ends the job, else the reaper |
| K12 | Batch throttles, lists in pages, takes 10,000 in an array |
| K13 | ids of any letters and length: names never collide |
| A1 | a worker dies in the middle: what was committed is not run again |
| A2 | a worker is told to end: the remote job goes on |
| A3 | a worker is ended since the API server was away: as A2, then goes on |
| A4 | the API server restarts: nothing is ended while Airflow cannot be asked |
| A5 | two schedulers, a task started twice: one job |
| A6 | a triggerer restarts: the job goes on |
| A7 | a frozen triggerer wakes up and kills: a task that is still deferred keeps its job |
| A8 | nobody was there when the user acted: the reaper ends it |
| A9 | the pod is collected before its task resumes: the result counts |
| A10 | a deferred task times out: its job is ended |
| A11 | a late word fails a try that runs: the next one takes the job over |
| A12 | a clear meets the kill of the try before: the newer epoch is safe |
| A13 | two workers run the same task: one leads |
| A14 | the state store is away or stale: checked before it is believed |
| A15 | a worker dies around the submission: one job |
| A16 | the run or the DAG is gone: the reaper ends the job |
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROWS = re.findall(r"^\| ([AK]\d+) \|", __doc__ or "", re.MULTILINE)


def test_each_row_has_a_test() -> None:
    marks = " ".join(
        found for path in TESTS.rglob("test_*.py") for found in re.findall(r"mark\.fault\(([^)]*)\)", path.read_text())
    )
    assert len(ROWS) == 29
    assert [row for row in ROWS if f'"{row}"' not in marks] == []
