"""The kubelet of all nodes: each container of a pod is a process of this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from airflow_ml.testing.kubernetes.containers import Program, program_of
from airflow_ml.testing.kubernetes.disruptions import befall, judged
from airflow_ml.testing.kubernetes.faults import Faults
from airflow_ml.testing.kubernetes.objects import Objects, changed
from airflow_ml.testing.kubernetes.pod_status import ContainerRun, Verdict, conditions
from airflow_ml.testing.kubernetes.programs import make_programs
from airflow_ml.testing.kubernetes.quantities import memory_limit
from airflow_ml.testing.kubernetes.resources import PODS, Object, key_of, now_text
from airflow_ml.testing.kubernetes.volumes import ConfigError, make_volumes, paths_of
from airflow_ml.testing.processes.launch import Ended, Processes
from airflow_ml.testing.processes.paths import Paths

_log = logging.getLogger(__name__)
#: A real kubelet takes 10 s and doubles them; so does this one, a hundred times faster.
_BACK_OFF_SECONDS = 0.1
_RETRY_SECONDS = 0.3
_PULL_BACK_OFF_SECONDS = 0.5


class PodRun:
    """A pod that was bound to a node."""

    def __init__(self, pod: Object, base: Path) -> None:
        self.key = key_of(pod)
        self.uid = str(pod["metadata"]["uid"])
        self.spec: Object = pod["spec"]
        self.base = base
        self.first = [ContainerRun(one, base) for one in self.spec.get("initContainers") or []]
        self.main = [ContainerRun(one, base) for one in self.spec["containers"]]
        self.folders: dict[str, Path] = {}
        self.programs: dict[str, Program] = {}
        self.stopping = False
        self.started = False
        self.verdict: Verdict | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self.task: asyncio.Task[None] | None = None

    def container(self, name: str) -> ContainerRun | None:
        """Return a container by its name."""
        return next((one for one in [*self.first, *self.main] if one.name == name), None)


class Kubelet:
    """Runs pods; used from the double's event loop."""

    def __init__(
        self, objects: Objects, processes: Processes, folder: Path, faults: Faults, image_env: Mapping[str, str]
    ) -> None:
        self.runs: dict[tuple[str, str], PodRun] = {}
        self.processes = processes
        self._objects = objects
        self._folder = folder
        self._programs = make_programs(folder / "programs")
        (folder / "pods").mkdir(exist_ok=True)
        self._faults = faults
        self._image_env = image_env
        self._removals: set[asyncio.Task[None]] = set()

    # ---- what the scheduler and the API call

    def run(self, pod: Object) -> None:
        """Run a pod that was bound."""
        run = PodRun(pod, self._folder / "pods" / pod["metadata"]["uid"])
        self.runs[run.key] = run
        run.task = asyncio.get_running_loop().create_task(self._live(run))
        loop = asyncio.get_running_loop()
        if deadline := run.spec.get("activeDeadlineSeconds"):
            text = "Pod was active on the node longer than the specified deadline"
            verdict = Verdict(reason="DeadlineExceeded", message=text)
            run.timers.append(loop.call_later(deadline, self.stop, run, 2.0, verdict))
        for fault in self._faults.disruptions_of(pod):
            run.timers.append(loop.call_later(fault.after_seconds, self._disrupt, run, fault.what))

    def _disrupt(self, run: PodRun, what: str) -> None:
        pod = self._objects.find(PODS, *run.key)
        if pod is not None and self.runs.get(run.key) is run:
            befall(self, run, pod, what)

    def delete(self, pod: Object, grace_seconds: float | None) -> Object:
        """Delete a pod as the API does: its processes get a term, then it is gone."""
        metadata = pod["metadata"]
        grace = grace_seconds if grace_seconds is not None else pod["spec"].get("terminationGracePeriodSeconds", 30)
        run = self.runs.get(key_of(pod))
        if run is None or run.uid != metadata["uid"] or grace == 0:
            if run is not None and run.uid == metadata["uid"]:
                self.stop(run, 0.0)
            self._objects.remove(PODS, pod)
            self._forget(metadata["uid"])
            return pod
        if not metadata.get("deletionTimestamp"):
            marks = {"deletionTimestamp": now_text(), "deletionGracePeriodSeconds": int(grace)}
            pod = self._objects.put(PODS, {**pod, "metadata": {**metadata, **marks}})
        self.stop(run, float(grace))
        return pod

    def stop(self, run: PodRun, grace_seconds: float, verdict: Verdict | None = None) -> None:
        """End a pod's processes: a SIGTERM to each container's first, after the grace SIGKILL to all."""
        run.stopping = True
        run.verdict = run.verdict or verdict
        processes = [one.process for one in [*run.first, *run.main] if one.process]
        if not processes and run.task is not None and not run.started:
            run.task.cancel()  # it waits for an image or a secret
            return
        for process in processes:
            if grace_seconds:
                self.processes.signal(process, signal.SIGTERM, group=False)
                run.timers.append(asyncio.get_running_loop().call_later(grace_seconds, self.processes.kill, process))
            else:
                self.processes.kill(process)

    def disrupt(self, pod: Object, what: str) -> None:
        """Let one of the things happen that befall pods; see ``Faults.disrupt_pods``."""
        run = self.runs.get(key_of(pod))
        if run is not None and run.uid == pod["metadata"]["uid"]:
            befall(self, run, pod, what)

    def put(self, pod: Object) -> None:
        """Store a newer version of a pod."""
        self._objects.put(PODS, pod)

    async def close(self) -> None:
        """End all pods."""
        tasks = [run.task for run in self.runs.values() if run.task]
        for run in list(self.runs.values()):
            self.stop(run, 0.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._removals, return_exceptions=True)

    # ---- the life of a pod

    async def _live(self, run: PodRun) -> None:
        try:
            os.mkdir(run.base)
            os.mkdir(run.base / "root")
            await self._wait_for_images(run)
            await self._configure(run)
            if await self._run_first(run):
                await self._run_main(run)
        except asyncio.CancelledError:
            if not run.stopping:
                raise
        except Exception as error:
            _log.exception("The pod %s could not be run.", "/".join(run.key))
            run.verdict = Verdict("DoubleFailed", f"{type(error).__name__}: {error}")
        finally:
            for timer in run.timers:
                timer.cancel()
            for one in [*run.first, *run.main]:
                if one.process:
                    self.processes.kill(one.process)
            self._finish(run)

    async def _wait_for_images(self, run: PodRun) -> None:
        told = False
        while True:
            refused = {one.name: self._faults.image_refusal(one.spec.get("image", "")) for one in run.main}
            if not any(refused.values()):
                return
            for one in run.main:
                reason = refused[one.name]
                if reason is not None:
                    image = one.spec.get("image", "")
                    first = "ErrImagePull" if reason == "ImagePullBackOff" and not told else reason
                    text = f'Back-off pulling image "{image}"' if told else f'failed to pull image "{image}": not found'
                    one.state = {"waiting": {"reason": first, "message": text}}
                    self.event(run, "BackOff" if told else "Failed", text, warning=True)
            self._write(run)
            await asyncio.sleep(_PULL_BACK_OFF_SECONDS)
            told = True

    async def _configure(self, run: PodRun) -> None:
        """Make the volumes, and see that each container can be configured, for as long as that takes."""
        told = ""
        while True:
            try:
                pod = self._objects.get(PODS, *run.key)
                run.folders = make_volumes(pod, run.base, self._folder / "claims", self._objects)
                run.programs = {one.name: self.program(run, one) for one in [*run.first, *run.main]}
                return
            except ConfigError as error:
                if str(error) != told:
                    told = str(error)
                    for one in run.main:
                        one.state = {"waiting": {"reason": "CreateContainerConfigError", "message": told}}
                    self.event(run, "Failed", f"Error: {told}", warning=True)
                    self._write(run)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _run_first(self, run: PodRun) -> bool:
        for one in run.first:
            if one.spec.get("restartPolicy") == "Always":  # a sidecar: it runs on beside the others
                await self._begin(run, one)
                continue
            while True:
                await (await self._begin(run, one))
                if one.exit_code == 0 or run.stopping:
                    break
                if run.spec.get("restartPolicy", "Always") == "Never":
                    return False
                await self._back_off(run, one)
            if run.stopping:
                return False
        return True

    async def _run_main(self, run: PodRun) -> None:
        run.started = True
        ends = [await self._begin(run, one) for one in run.main]
        self._write(run, phase="Running")
        self.event(run, "Started", "Started container " + ", ".join(one.name for one in run.main))
        await asyncio.gather(*(self._supervise(run, one, end) for one, end in zip(run.main, ends, strict=True)))

    async def _supervise(self, run: PodRun, one: ContainerRun, end: asyncio.Future[None]) -> None:
        policy = run.spec.get("restartPolicy", "Always")
        while True:
            await end
            again = policy == "Always" or (policy == "OnFailure" and one.exit_code != 0)
            if not again or run.stopping:
                break
            await self._back_off(run, one)
            end = await self._begin(run, one)
            self._write(run, phase="Running")
        if any(other.process for other in run.main):
            self._write(run, phase="Running")

    async def _back_off(self, run: PodRun, one: ContainerRun) -> None:
        one.last_state, text = one.state, "back-off restarting failed container"
        one.state = {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
        one.restarts += 1
        self._write(run)
        await asyncio.sleep(min(_BACK_OFF_SECONDS * 2**one.restarts, 3.0))

    async def _begin(self, run: PodRun, one: ContainerRun) -> asyncio.Future[None]:
        """Start a container's process; the future is done when it has ended."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()
        program = run.programs[one.name]

        def ended(how: Ended) -> None:
            one.ended(how)
            if not end.done():
                end.set_result(None)

        one.started_at = now_text()
        one.state = {"running": {"startedAt": one.started_at}}
        one.log.touch()  # who is told that a container runs may read its log; its process starts a little later
        one.process = self.processes.start(
            program.command,
            env=program.env,
            cwd=program.cwd,
            output=one.log,
            memory_bytes=memory_limit(one.spec),
            on_end=ended,
        )
        return end

    def paths(self, run: PodRun, one: ContainerRun) -> Paths:
        """Return where a container's mounts are on this machine."""
        message = one.spec.get("terminationMessagePath") or "/dev/termination-log"
        return paths_of(one.spec, run.folders, [(message, one.message_file)])

    def program(self, run: PodRun, one: ContainerRun) -> Program:
        """Return a container's process.

        Raises:
            ConfigError: what its environment names is not there.
        """
        pod = self._objects.get(PODS, *run.key)
        return program_of(
            pod, one.spec, run.base, self.paths(run, one), self._objects, self._image_env, programs=self._programs
        )

    # ---- what the API shows

    def _write(self, run: PodRun, *, phase: str = "Pending", verdict: Verdict | None = None) -> None:
        pod = self._objects.find(PODS, *run.key)
        if pod is None or pod["metadata"]["uid"] != run.uid:
            return
        ready = phase == "Running" and all("running" in one.state for one in run.main)
        values = {
            "phase": phase,
            "conditions": conditions(pod, Initialized=run.started, ContainersReady=ready, Ready=ready),
            "containerStatuses": [one.status() for one in run.main],
            "startTime": pod["status"].get("startTime") or now_text(),
            "podIP": "127.0.0.1",
            "hostIP": "127.0.0.1",
        }
        if run.first:
            values["initContainerStatuses"] = [one.status() for one in run.first]
        pod = changed(pod, **values)
        self._objects.put(PODS, judged(pod, verdict) if verdict else pod)

    def _finish(self, run: PodRun) -> None:
        if self.runs.get(run.key) is run:
            del self.runs[run.key]
        pod = self._objects.find(PODS, *run.key)
        if pod is None or pod["metadata"]["uid"] != run.uid:
            self._forget(run.uid)
            return
        codes = [one.exit_code for one in run.main]
        good = run.verdict is None and all(code == 0 for code in codes)
        self._write(run, phase="Succeeded" if good else "Failed", verdict=run.verdict)
        pod = self._objects.get(PODS, *run.key)
        if pod["metadata"].get("deletionTimestamp"):
            self._objects.remove(PODS, pod)
            self._forget(run.uid)

    def _forget(self, uid: str) -> None:
        folder = self._folder / "pods" / uid
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(shutil.rmtree, folder, True))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    def event(self, run: PodRun, reason: str, message: str, *, warning: bool = False) -> None:
        """Store an Event about a pod that may be gone."""
        pod = self._objects.find(PODS, *run.key)
        if pod is not None:
            self._objects.add_event(pod, reason, message, warning=warning, source="kubelet")
