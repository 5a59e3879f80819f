"""What it costs to run many short calls as one Indexed Job, and to watch many jobs, against the double of Kubernetes.

    python benchmarks/compute.py [--calls 10000] [--calls-per-index 250] [--parallelism 2] [--watched 1000]

0 calls, or 0 watched, leaves that half out.

The peer runs the same processes, so many side by side, without a cluster: what the Job takes longer is the overhead.
Half of the peer's calls run before the Job and half after it, since a machine's load drifts; and the overhead is also
told as time of processors, which others do not change. The API is another process, ``airflow-ml cluster --local``,
which counts the requests. Jobs that are watched are suspended, so that a look is all there is; their triggers run in
a process of their own, on top of what Airflow's triggerer loads by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

FUNCTION = """
def work(number):
    return number * 2
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Many calls as one job, many jobs watched by one triggerer.")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--calls-per-index", type=int, default=250)
    parser.add_argument("--parallelism", type=int, default=2)
    parser.add_argument("--watched", type=int, default=1_000, help="jobs under one event loop")
    parser.add_argument("--watch-seconds", type=float, default=45.0)
    parser.add_argument("--watch", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        print(json.dumps(asyncio.run(watch(json.loads(Path(options.watch).read_text()), options.watch_seconds))))
        return
    with tempfile.TemporaryDirectory() as folder, local_cluster(Path(folder)) as cluster:
        os.environ["AIRFLOW_HOME"] = folder
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        os.environ["AIRFLOW__ML__ARTIFACT_STORE"] = f"file://{folder}/store"
        os.environ["AIRFLOW_CONN_KUBERNETES_DEFAULT"] = json.dumps(cluster["connection"])
        found = {
            "conditions": {"cpus": os.cpu_count(), "load_before": os.getloadavg(), **vars(options)},
            "job": one_job(Path(folder), cluster, options) if options.calls else None,
            "triggers": many_triggers(Path(folder), cluster, options) if options.watched else None,
        }
        found["conditions"]["load_after"] = os.getloadavg()
    json.dump(found, sys.stdout, indent=2)
    print()


def one_job(folder: Path, cluster: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Submit, await and collect all calls as one Job, between two halves of the same without a cluster."""
    from airflow_ml.core.job import ENDED
    from airflow_ml.hooks.job_backend import remote_jobs

    remote = remote_jobs()
    calls, profile = calls_of(folder, remote.store, options.calls), profile_of(options)
    owner = {"namespace": "benchmark", "dag": "benchmark", "run": "1", "task": "calls"}
    half = -(-len(calls) // (2 * options.calls_per_index)) * options.calls_per_index
    remote.look(remote.begin("benchmark/first", calls[:1], profile, owner=owner, generation="1"))  # imports and client
    peer_first = without_a_cluster(remote, calls[:half], profile, "before")

    before, cpu, began = requests(cluster), cpu_seconds(cluster), time.perf_counter()
    attempt = remote.begin("benchmark/calls", calls, profile, owner=owner, generation="1")
    submitted = time.perf_counter()
    while (status := remote.look(attempt)).phase not in ENDED:
        time.sleep(1.0)  # a trigger looks every 15 s
    ended = time.perf_counter()
    results = remote.results(attempt)
    collected = time.perf_counter()
    cpu = cpu_seconds(cluster) - cpu
    made = {name: count - before.get(name, 0) for name, count in requests(cluster).items()}
    total = sum(made.values())

    peer_second = without_a_cluster(remote, calls[half:], profile, "after")
    peer, peer_cpu = (one + other for one, other in zip(peer_first, peer_second, strict=True))
    return {
        "phase": status.phase,
        "indexes": status.indexes,
        "results": len(results),
        "submit_seconds": round(submitted - began, 3),
        "run_seconds": round(ended - submitted, 3),
        "collect_seconds": round(collected - ended, 3),
        "requests": total,
        "requests_per_call": round(total / options.calls, 5),
        "requests_by_kind": {name: count for name, count in made.items() if count},
        "without_a_cluster_seconds": round(peer, 3),
        "overhead_ms_per_call": round((collected - began - peer) / options.calls * 1000, 3),
        "cpu_seconds": round(cpu, 3),
        "without_a_cluster_cpu_seconds": round(peer_cpu, 3),
        "overhead_cpu_ms_per_call": round((cpu - peer_cpu) / options.calls * 1000, 3),
    }


def without_a_cluster(remote: Any, calls: list[Any], profile: Any, name: str) -> tuple[float, float]:
    """Run calls as processes beside this one, and return the seconds and the processor's seconds that took."""
    from airflow_ml.adapters.memory.backend import MemoryBackend, MemoryCluster
    from airflow_ml.core.job import ENDED, JobRequest
    from airflow_ml.runtime.work import store_work
    from airflow_ml.runtime.zipapp import store_runtime

    if not calls:
        return 0.0, 0.0
    request = JobRequest(
        key=f"benchmark/{name}",
        epoch=1,
        work=store_work(calls, remote.store),
        calls=len(calls),
        runtime=store_runtime(remote.store),
        store_uri=remote.store.uri,
        profile=replace(profile, retries=0),
    )
    machine = MemoryCluster(slots=profile.parallelism)
    backend = MemoryBackend(machine)
    cpu, began = cpu_seconds(), time.perf_counter()
    handle = backend.submit(request)
    while (status := backend.observe(handle)).phase not in ENDED:
        time.sleep(0.05)
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu
    if status.failed:
        raise SystemExit(f"The peer failed: {status}")
    machine.close()
    return seconds, cpu


def cpu_seconds(cluster: dict[str, Any] | None = None) -> float:
    """Return the processor's time of this process and its ended children, and of a cluster with all that it started."""
    spent = os.times()
    return sum(spent[:4]) + (sum(map(_cpu_of, _tree(cluster["pid"]))) if cluster is not None else 0.0)


def _tree(pid: int) -> list[int]:
    children = [child for thread in Path(f"/proc/{pid}/task").iterdir() for child in _words(thread / "children")]
    return [pid, *(below for child in children for below in _tree(int(child)))]


def _words(file: Path) -> list[str]:
    with contextlib.suppress(OSError):  # a thread has ended
        return file.read_text().split()
    return []


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def many_triggers(folder: Path, cluster: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Let one event loop in a process of its own watch many jobs."""
    from airflow_ml.hooks.job_backend import remote_jobs

    remote = remote_jobs()
    [call] = calls_of(folder, remote.store, 1)
    profile = profile_of(options, suspend=True)
    watched = []
    for number in range(options.watched):
        key = f"benchmark/watched/{number}"
        owner = {"namespace": "benchmark", "dag": "benchmark", "run": str(number), "task": "watched"}
        attempt = remote.begin(key, [call], profile, owner=owner, generation="1")
        watched.append({"key": key, "epoch": attempt.epoch, "claim": attempt.claim})
    listed = folder / "watched.json"
    listed.write_text(json.dumps(watched))
    before = sum(requests(cluster).values())
    command = [sys.executable, __file__, "--watch", str(listed), "--watch-seconds", str(options.watch_seconds)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    found["requests_per_second"] = round((sum(requests(cluster).values()) - before) / options.watch_seconds, 1)
    return found


async def watch(watched: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """In the child: watch the jobs for a while and return what that took."""
    import logging

    import airflow.jobs.triggerer_job_runner  # noqa: F401 - what a triggerer has before it watches anything of ours

    airflow_alone = memory_mb("VmRSS")
    from airflow_ml.triggers import job as trigger_module
    from airflow_ml.triggers.job import JobTrigger

    logging.disable(logging.WARNING)
    looks = 0
    look_once = JobTrigger.look_once

    def counted(trigger: JobTrigger) -> Any:
        nonlocal looks
        status = look_once(trigger)
        looks += 1
        return status

    trigger_module.JobTrigger.look_once = counted  # type: ignore[method-assign]
    JobTrigger(**watched[0]).look_once()
    one_watched, cpu, looks = memory_mb("VmRSS"), time.process_time(), 0
    began, late = time.monotonic(), 0.0

    async def follow(arguments: dict[str, Any]) -> None:
        async for _ in JobTrigger(**arguments).run():
            return

    tasks = [asyncio.create_task(follow(arguments)) for arguments in watched]
    while time.monotonic() - began < seconds:
        slept = time.monotonic()
        await asyncio.sleep(0.1)
        late = max(late, time.monotonic() - slept - 0.1)
    found = {
        "jobs": len(watched),
        "looks": looks,
        "looks_per_job": round(looks / len(watched), 2),
        "seconds": seconds,
        "cpu_ms_per_look": round((time.process_time() - cpu) / max(1, looks) * 1000, 2),
        "longest_stall_of_the_loop_seconds": round(late, 3),
        "memory_of_airflow_alone_mb": round(airflow_alone, 1),
        "memory_with_one_job_mb": round(one_watched, 1),
        "memory_at_most_mb": round(memory_mb("VmHWM"), 1),
        "memory_of_watching_mb": round(memory_mb("VmHWM") - airflow_alone, 1),
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


@contextlib.contextmanager
def local_cluster(folder: Path) -> Iterator[dict[str, Any]]:
    """Start the cluster in a process of its own and yield what it says of itself."""
    code = "from airflow_ml.cli.main import main; raise SystemExit(main())"
    command = [
        sys.executable,
        "-c",
        code,
        "cluster",
        "--local",
        "--output",
        "json",
        "--folder",
        str(folder / "cluster"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield {**json.loads(process.stdout.readline()), "pid": process.pid}
    finally:
        process.terminate()
        process.wait(60)


def calls_of(folder: Path, store: Any, count: int) -> list[Any]:
    """Return calls of one small function."""
    from airflow_ml.core.call import Call
    from airflow_ml.runtime.call import CallJob
    from airflow_ml.runtime.capture import as_function_ref, capture

    file = folder / "benchmark_dag.py"
    file.write_text(FUNCTION)
    namespace: dict[str, Any] = {"__name__": "benchmark_dag", "__file__": str(file)}
    exec(compile(FUNCTION, str(file), "exec"), namespace)
    function = as_function_ref(capture(namespace["work"]), store)
    return [
        CallJob(call=Call(function=function, arguments={"number": number}, seed=number, environment="benchmark"))
        for number in range(count)
    ]


def profile_of(options: argparse.Namespace, **own: Any) -> Any:
    """Return a profile whose image is this machine."""
    from airflow_ml.core.compute import profile_from_dict

    table = {
        "kind": "kubernetes",
        "image": "python:here",
        "python": sys.executable,
        "calls_per_index": options.calls_per_index,
        "parallelism": options.parallelism,
        "kubernetes": {"image_by_tag": True, **own},
    }
    return profile_from_dict("benchmark", table)


def requests(cluster: dict[str, Any]) -> dict[str, int]:
    """Return how many requests the cluster had, by verb and resource."""
    from kubernetes import config

    client = config.new_client_from_config(cluster["kubeconfig"])
    answer = client.call_api("/double/requests", "GET", auth_settings=["BearerToken"], _preload_content=False)
    found: dict[str, int] = json.loads(answer.data)
    return found


def memory_mb(field: str) -> float:
    """Return the memory that this process has now (``VmRSS``), or had at most (``VmHWM``)."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
