"""Real runners: good trials, bad trials, kills and retries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.core.shards import shard_ref
from airflow_ml.errors import CallFailed, SweepFailed
from airflow_ml.runtime.job import Progress
from airflow_ml.runtime.leaderboard import collect, committed_results, read_rows
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.sweep_plan import shard_job

#: Carried by every process that a test here starts in a runner.
MARK = {"TEST_RUN": uuid.uuid4().hex}
#: Least squares with a penalty: a library would take longer to be imported than all the rest.
RIDGE = """
from airflow_ml.core.space import Choice

def score(model, X, y):
    return float(((X["x"] * model > 0.5) == y).mean())

def train(data, params, trial):
    X, y = data.train.xy()
    model = float((X["x"] * y).sum() / ((X["x"] ** 2).sum() + 1 / params["C"]))
    trial.log(f"C={params['C']}")
    trial.report(1, 0.5)
    return {"score": score(model, *data.validate.xy()), "other": float("nan"), "rows": len(data.train.y)}, model
"""


def run(plan: Any, store: Any, **options: Any) -> tuple[Any, list[str]]:
    lines: list[str] = []
    job = shard_job(plan, 0, workers=2)
    outcome = run_shard(job, store_uri=store.uri, log=lines.append, environment=MARK, **options)
    return outcome, lines


def left_behind() -> list[str]:
    """Command lines of processes that were started by a runner of this test process."""
    ((name, value),) = MARK.items()
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                if f"{name}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                    if status != "Z":
                        found.append(Path(f"/proc/{pid}/cmdline").read_text())
            except OSError:
                continue
    return found


def test_a_sweep_from_plan_to_leaderboard(tmp_path):
    space = {"C": {"distribution": "log_uniform", "low": 0.01, "high": 10.0}}
    plan, store = plan_of(tmp_path, RIDGE, space=space)
    seen: list[Progress] = []
    outcome, lines = run(plan, store, on_progress=seen.append)
    assert (outcome.trials, outcome.succeeded, outcome.ran, outcome.failed) == (8, 8, 8, 0)
    assert seen[-1].finished == 8
    assert any(line.startswith("[t00000 EWR] C=") for line in lines)
    board = collect(plan, store)
    rows = list(read_rows(store.path(board.artifact)))
    assert [row["group"] for row in rows] == ["EWR"] * 4 + ["JFK"] * 4
    assert [row["value"] for row in rows[:4]] == sorted((row["value"] for row in rows[:4]), reverse=True)
    assert json.loads(rows[0]["metrics"])["rows"] == 36.0
    assert "other" not in json.loads(rows[0]["metrics"])
    assert rows[0]["param_C"] == json.loads(rows[0]["params"])["C"]
    assert board.best.value == max(row["value"] for row in rows)
    assert (board.trials, board.succeeded, board.groups_without_success) == (8, 8, ())
    again, _ = run(plan, store)
    assert (again.ran, again.succeeded) == (0, 8)


BAD = """
import os

def train(data, params, trial):
    number = int(trial.id[1:])
    if number == 1:
        raise KeyError("one")
    if number == 2:
        os._exit(3)
    if number == 3:
        import ctypes
        ctypes.string_at(0)
    if number == 4:
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if number == 5:
        return float("nan")
    if number == 6:
        for _ in range(100):
            os.write(1, b"x" * 1023 + b"\\n" + b"y" * (1 << 20))
    if number == 7:
        import subprocess
        subprocess.Popen(["sleep", "300"], start_new_session=True)
    if number == 8:
        import sys
        assert sys.stdin.read() == ""
    if number == 9:
        return {"score": "high"}
    if number == 10:
        return {"other": 1}
    if number == 11:
        import sys
        sys.exit(4)
    if number == 12:
        os.kill(os.getpid(), 9)
    if number == 13:
        if os.fork() == 0:
            os.close(0)
        else:
            os.wait()
    if number == 14:
        assert not [name for name in os.environ if name.startswith("AIRFLOW_") and name != "AIRFLOW_ML_RUNNER"]
        import sys
        assert not [name for name in sys.modules if name.partition(".")[0] == "airflow"]
    if number == 15:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                import time
                time.sleep(300)
            os._exit(0)
        os.wait()
    if number == 16:
        os.close(1); os.close(2)
    if number == 17:
        return None
    if number == 18:
        print("a\\rb", "z" * 10000)
    if number == 19:
        return float("inf")
    return number + 0.5
"""


def test_a_bad_trial_harms_itself_only(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("AIRFLOW_CONN_X", "secret")
    plan, store = plan_of(tmp_path, BAD, trials_per_group=20, groups=("a",), timeout_seconds=4.0)
    began = time.monotonic()
    outcome, lines = run(plan, store)
    assert time.monotonic() - began < 40
    results = committed_results(plan, store)
    failed = {int(name[1:]): (item.status, item.reason) for name, item in results.items() if item.status != "succeeded"}
    assert failed == {
        1: ("failed", "KeyError: 'one'"),
        2: ("killed", "its process ended with exit code 3"),
        3: ("killed", "its process was killed by SIGSEGV (segmentation fault)"),
        4: ("timed_out", "took longer than 4 s"),
        5: ("failed", "metric is not a finite number: nan"),
        9: ("failed", "metric is not a finite number: 'high'"),
        10: ("failed", "metric 'score' was not returned; returned: other"),
        11: ("failed", "SystemExit: 4"),
        12: ("killed", "its process was killed by SIGKILL (often: out of memory)"),
        17: ("failed", "metric is not a finite number: None"),
        19: ("failed", "metric is not a finite number: inf"),
    }
    assert {int(name[1:]) for name in results} == set(range(20))
    assert all(results[f"t{n:05d}"].metrics == {"score": n + 0.5} for n in set(range(20)) - set(failed))
    assert 'raise KeyError("one")' in results["t00001"].traceback
    assert "airflow_ml" not in results["t00001"].traceback
    assert sum(len(line) for line in lines) < 1 << 20
    assert any("bytes of output left out" in line for line in lines if line.startswith("[t00006"))
    assert max(len(line) for line in lines) < 5000
    assert left_behind() == []
    assert outcome.failed == len(failed)
    with pytest.raises(SweepFailed, match="9 of 20 trials succeeded, 95% must succeed"):
        collect(plan, store)


def test_when_nothing_succeeds_the_common_error_is_told(tmp_path):
    text = "def train(data, params, trial):\n    import not_installed_anywhere\n"
    plan, store = plan_of(tmp_path, text, min_success_fraction=0.0)
    outcome, _ = run(plan, store)
    assert outcome.succeeded == 0
    with pytest.raises(
        SweepFailed, match=r"most common error \(8 times\): ModuleNotFoundError: No module named 'not_i"
    ):
        collect(plan, store)


COUNTED = """
def train(data, params, trial, folder):
    import os, time, pathlib
    path = pathlib.Path(folder, f"{trial.id}.{os.getpid()}")
    path.touch()
    time.sleep(0.15)
    return 1.0
"""


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def runs_of(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in os.listdir(folder):
        counts[name.partition(".")[0]] = counts.get(name.partition(".")[0], 0) + 1
    return counts


PARENT = """
import json, sys
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.job import ShardJob
job = ShardJob.from_dict(json.load(open(sys.argv[1])))
run_shard(job, store_uri=sys.argv[2], log=print, environment={"TEST_RUN": sys.argv[3]})
"""


def test_a_spot_machine_that_is_taken_away_commits_what_is_done_and_the_retry_goes_on(tmp_path):
    """SIGTERM reaches the runner: nothing further begins, what has ended is committed, nothing is left running."""
    counts = tmp_path / "counts"
    counts.mkdir()
    plan, store = plan_of(tmp_path, COUNTED, trials_per_group=20, constants={"folder": str(counts)})
    job = tmp_path / "job.json"
    job.write_text(json.dumps(shard_job(plan, 0, workers=2).to_dict()))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(job), store.uri, MARK["TEST_RUN"]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(committed_results(plan, store)) >= 5)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        began = time.monotonic()
        os.kill(int(children[0]), signal.SIGTERM)
        _, errors = parent.communicate(timeout=60)
        assert time.monotonic() - began < 60
    finally:
        parent.kill()
        parent.wait()
    assert left_behind() == []
    assert "its process ended with exit code 143" in errors
    begun = sum(runs_of(counts).values())
    done = len(committed_results(plan, store))
    assert begun - 2 <= done <= begun < 40, "all but what the two workers were running is committed"
    outcome, _ = run(plan, store)
    assert (outcome.succeeded, outcome.ran) == (40, 40 - done)
    assert sum(runs_of(counts).values()) - 40 <= 2


LOUD = """
def train(data, params, trial):
    import os
    if trial.id == "t00001":
        for _ in range(1024):
            os.write(1, b"x" * ((1 << 20) - 1) + b"\\n")
    return 1.0
"""


@pytest.mark.long
def test_a_gigabyte_of_output_is_read_and_left_out(tmp_path):
    plan, store = plan_of(tmp_path, LOUD, trials_per_group=4, timeout_seconds=120.0)
    outcome, lines = run(plan, store)
    assert outcome.succeeded == 8
    assert sum(len(line) for line in lines) < 1 << 20
    assert any("bytes of output left out" in line for line in lines if line.startswith("[t00001"))


@pytest.mark.parametrize("victim", ["parent", "runner"])
def test_kill_9_loses_at_most_the_trials_in_flight(tmp_path, victim):
    counts = tmp_path / "counts"
    counts.mkdir()
    plan, store = plan_of(tmp_path, COUNTED, trials_per_group=10, constants={"folder": str(counts)})
    job = tmp_path / "job.json"
    job.write_text(json.dumps(shard_job(plan, 0, workers=2).to_dict()))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(job), store.uri, MARK["TEST_RUN"]], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(committed_results(plan, store)) >= 5)
        if victim == "parent":
            parent.kill()
        else:
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
        parent.wait(20)
        wait_for(lambda: not left_behind(), 10)
    finally:
        parent.kill()
        parent.wait()
    done = len(committed_results(plan, store))
    assert 5 <= done < 20
    outcome, lines = run(plan, store)
    assert outcome.succeeded == 20
    assert any(f"{done} of 20 trials were finished earlier" in line for line in lines)
    counted = runs_of(counts)
    assert len(counted) == 20
    assert sum(counted.values()) - 20 <= 2
    assert collect(plan, store).succeeded == 20


def test_stop_ends_everything_and_keeps_what_has_ended(tmp_path):
    counts = tmp_path / "counts"
    counts.mkdir()
    plan, store = plan_of(tmp_path, COUNTED, trials_per_group=20, constants={"folder": str(counts)})
    stop = threading.Event()
    threading.Thread(target=lambda: (wait_for(lambda: len(runs_of(counts)) > 4), stop.set())).start()
    began = time.monotonic()
    with pytest.raises(CallFailed, match="Stopped from outside"):
        run(plan, store, stop=stop)
    assert time.monotonic() - began < 20
    assert left_behind() == []
    assert 3 <= len(committed_results(plan, store)) < 40


def test_an_exception_in_the_parent_ends_the_runner(tmp_path):
    plan, store = plan_of(tmp_path, RIDGE, space={"C": {"distribution": "choice", "values": [1.0]}}, trials_per_group=1)

    def log(line: str) -> None:
        raise TimeoutError("the task's time is over")

    with pytest.raises(TimeoutError):
        run_shard(shard_job(plan, 0), store_uri=store.uri, log=log, environment=MARK)
    assert left_behind() == []


def test_two_runners_on_one_shard_finish_it_together(tmp_path):
    counts = tmp_path / "counts"
    counts.mkdir()
    plan, store = plan_of(tmp_path, COUNTED, trials_per_group=10, constants={"folder": str(counts)})
    outcomes: list[Any] = []
    threads = [threading.Thread(target=lambda: outcomes.append(run(plan, store)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [outcome.succeeded for outcome in outcomes] == [20, 20]
    entries = [item["trial"] for entry in store.history(shard_ref(plan.sweep, 0, 1)) for item in entry.value["trials"]]
    assert len(entries) == len(set(entries)) == 20
    assert sum(outcome.superseded for outcome in outcomes) == sum(outcome.ran for outcome in outcomes) - 20


def test_a_trial_is_a_function_of_its_seed(tmp_path):
    text = textwrap.dedent("""
        def train(data, params, trial):
            import random
            import numpy
            return {"score": random.random() + numpy.random.rand(), "seed": trial.seed}
    """)
    plan, store = plan_of(tmp_path, text)
    run(plan, store)
    first = {name: item.metrics for name, item in committed_results(plan, store).items()}
    (tmp_path / "other").mkdir()
    again, other = plan_of(tmp_path / "other", text)
    assert again.sweep == plan.sweep
    run_shard(shard_job(again, 0, workers=1), store_uri=other.uri, log=lambda line: None)
    assert {name: item.metrics for name, item in committed_results(again, other).items()} == first
