"""The gateway without HTTP: holds traffic and models, answers batches, logs what it answered."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from airflow_ml.core.arms import challengers_of
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import FencedOut, ModelNotFound
from airflow_ml.gateway.answer_journal import answered_of
from airflow_ml.gateway.batch import Batch
from airflow_ml.gateway.counters import Counters
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.processes import Spawner
from airflow_ml.gateway.scoring import Answers, Held, answer, never_back, trial
from airflow_ml.gateway.shadow import Mirror
from airflow_ml.gateway.split import CHAMPION, effective_weight, in_shadow
from airflow_ml.gateway.traffic_file import TrafficFiles
from airflow_ml.gateway.traffic_log import MetricReport, TrafficLog
from airflow_ml.gateway.wire import Outcome, models_of

#: How long requests and challengers in shadow may still take when the gateway ends; with the server's three seconds
#: for requests it stays below five.
DRAIN_SECONDS = 1.0
#: How often journaled answers are looked after.
SETTLE_SECONDS = 1.0
#: Below so many rows in that time they are settled at once; it costs a few percent of a core.
QUIET_ROWS = 1000
#: Above so many they are settled however busy the gateway is: a look at the metrics waits for them, about a second.
JOURNALED_ROWS = 100_000

_log = logging.getLogger("airflow_ml.gateway")


class Gateway:
    """Serves models by name.

    Args:
        directory: Where traffic and log are kept.
        store_uri: The artifact store that holds the models.
        clock: The wall clock, for ``expires_at``.
    """

    def __init__(self, directory: Path, store_uri: str, clock: Callable[[], datetime]) -> None:
        self.counters = Counters()
        self._files = TrafficFiles(directory)
        self._log = TrafficLog(directory)
        self._spawner = Spawner(store_uri)
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._processes: dict[str, ModelProcess] = {}
        self._loading: dict[str, int] = {}
        self._tickets = itertools.count(1)
        self._applied: dict[str, int] = {}
        self._switch = asyncio.Lock()
        # One thread: SQLite takes one writer at a time anyway.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="traffic-log")
        self._settler: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._mirror = Mirror(lambda scores: self._in_writer(lambda: self._log.append_shadow(scores)))

    def start(self) -> None:
        """Take up the traffic of the last life; models load in the background.

        Raises:
            ConfigurationError: a traffic file is damaged.
        """
        for traffic in list(self._files.read_all()):
            self._held[traffic.model] = self._hold(traffic)
        self._spawner.prepare()
        self._settler = asyncio.create_task(self._settle())

    async def close(self) -> None:
        """End all model processes and close the log."""
        closing = {asyncio.create_task(process.close()) for process in self._processes.values()}
        await _finish(self._mirror.tasks | self._background | closing, DRAIN_SECONDS)
        if self._settler is not None:
            await _finish({self._settler}, 0.0)
        await self._spawner.close()
        self._writer.shutdown(wait=True)
        self._log.close()

    def traffic(self, model: str) -> Traffic:
        """Return what is in effect.

        Raises:
            ModelNotFound.
        """
        return self._find(model).traffic

    async def set_traffic(self, traffic: Traffic) -> Traffic:
        """Load what it names, store it durably, and put it in effect; return it.

        Raises:
            FencedOut: a higher epoch is held, or a later write was put in effect while this one loaded its models.
            RouterFailed: a variant cannot be loaded; what was in effect stays so.
        """
        ticket = next(self._tickets)
        self._check_fence(traffic, ticket)
        digests = [models_of(variant).digest for variant in _variants(traffic)]
        for digest in digests:
            self._loading[digest] = self._loading.get(digest, 0) + 1
        try:
            held = self._hold(traffic)
            for process in held.processes:
                await process.loaded()
            # Loading took its time outside the lock, so that a rollback never waits for it: look again.
            async with self._switch:
                self._check_fence(traffic, ticket)
                await asyncio.to_thread(self._store, traffic)
                self._held[traffic.model] = held
                self._applied[traffic.model] = ticket
        finally:
            for digest in digests:
                self._loading[digest] -= 1
            self._unload_unused()
        _log.info("%s: epoch %d, %g %% to the challenger", traffic.model, traffic.epoch, traffic.weight_percent)
        return traffic

    async def predict(self, model: str, batch: Batch) -> Answers:
        """Answer a batch and log it.

        Raises:
            ModelNotFound.
        """
        held = self._find(model)
        now = held.now()
        weight, shadow = effective_weight(held.traffic, now), in_shadow(held.traffic, now)
        with contextlib.ExitStack() as stack:
            for process in held.processes:
                stack.enter_context(process.in_use())
            answers = await answer(held, batch, weight, shadow=shadow)
        self.counters.count(answers)
        if answered := answered_of(model, batch, answers):
            try:
                self._log.append(answered)
            except OSError:
                # An answer is worth more than its evidence, and no evidence never promotes.
                self.counters.unlogged_batches += 1
                _log.exception("%d predictions of %s could not be logged", len(answered.keys), model)
        if shadow:
            self._mirror.offer(held, batch, answers)
        return answers

    async def try_out(self, model: str, arm: str, batch: Batch) -> Answers:
        """Let one arm answer a batch, whatever its weight, and log nothing: a trial before its first traffic.

        Raises:
            ModelNotFound: no such model, or it has no such arm now.
        """
        held = self._find(model)
        arms = {CHAMPION: (held.champion, held.traffic.champion), **held.arms}
        if arm not in arms:
            raise ModelNotFound(f"{model} has no such arm now", repr(arm)[:80], f"It has {', '.join(arms)}.")
        process, variant = arms[arm]
        with process.in_use():
            return await trial(held.traffic.epoch, process, variant, arm, batch)

    async def add_outcomes(self, model: str, outcomes: Iterable[Outcome], watermark_at: datetime) -> None:
        """Store outcomes; raises ModelNotFound."""
        epoch = self._find(model).traffic.epoch
        await self._in_writer(lambda: self._log.add_outcomes(model, outcomes, watermark_at, epoch=epoch))

    async def metrics(self, model: str, *, metric: str, epoch: int) -> MetricReport:
        """Return a metric's sums; raises ModelNotFound, MetricUnreadable."""
        self._find(model)
        return await asyncio.to_thread(self._log.read, model, metric=metric, epoch=epoch)

    def health(self) -> tuple[bool, dict[str, JSON]]:
        """Return whether every champion is up, and the state of each model."""
        models: dict[str, JSON] = {}
        for name, held in sorted(self._held.items()):
            traffic, now = held.traffic, held.now()
            models[name] = {
                "epoch": traffic.epoch,
                "weight_percent": effective_weight(traffic, now),
                "expires_at": None if traffic.expires_at is None else format_time(traffic.expires_at),
                "champion": _process_state(held.champion),
                "challenger": None if held.challenger is None else _process_state(held.challenger),
                "others": [_process_state(process) for process in held.others],
                "shadow": in_shadow(traffic, now),
            }
        counters: dict[str, JSON] = {
            "rows": self.counters.rows,
            "refused_rows": self.counters.refused_rows,
            "fallbacks": self.counters.fallbacks,
            "unlogged_batches": self.counters.unlogged_batches,
            "journaled_rows": self._log.waiting_rows,
            "shadow_rows": self._mirror.counters.rows,
            "shadow_skipped_rows": self._mirror.counters.skipped_rows,
            "shadow_failed_rows": self._mirror.counters.failed_rows,
            "last_reason": self.counters.last_reason,
        }
        return all(held.champion.pid is not None for held in self._held.values()), {
            "models": models,
            "counters": counters,
        }

    def _find(self, model: str) -> Held:
        held = self._held.get(model)
        if held is None:
            raise ModelNotFound("The gateway does not serve this model", model, "Write its traffic first.")
        return held

    def _check_fence(self, traffic: Traffic, ticket: int) -> None:
        held = self._held.get(traffic.model)
        if held is None or traffic.epoch > held.traffic.epoch:
            return
        if traffic.epoch < held.traffic.epoch or self._applied.get(traffic.model, 0) > ticket:
            raise FencedOut(
                f"Traffic of {traffic.model} is held by epoch {held.traffic.epoch}",
                f"this write has epoch {traffic.epoch}",
                "Read the traffic and the rollout record again; a later write owns them.",
            )

    def _hold(self, traffic: Traffic) -> Held:
        processes = []
        for variant in _variants(traffic):
            artifact = models_of(variant)
            process = self._processes.get(artifact.digest)
            if process is None:
                process = self._processes[artifact.digest] = ModelProcess(artifact, self._spawner)
            processes.append(process)
        champion, *challengers = processes
        return Held(
            traffic, never_back(self._clock), champion, challengers[0] if challengers else None, tuple(challengers[1:])
        )

    def _unload_unused(self) -> None:
        needed = {process.artifact.digest for held in self._held.values() for process in held.processes}
        needed |= {digest for digest, writes in self._loading.items() if writes > 0}
        self._loading = {digest: writes for digest, writes in self._loading.items() if writes > 0}
        for digest in set(self._processes) - needed:
            task = asyncio.create_task(self._processes.pop(digest).close())
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    def _store(self, traffic: Traffic) -> None:
        """Write a configuration, from now on what the next life takes up, and note it where it is a change."""
        before = self._held.get(traffic.model)
        self._files.write(traffic)
        if before is None or replace(before.traffic, expires_at=None) != replace(traffic, expires_at=None):
            try:
                self._files.note(traffic, self._clock())
            except OSError:  # it is written: a full disk must not make a rollback fail
                _log.exception("The change of %s could not be noted", traffic.model)

    async def _in_writer(self, work: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def _settle(self) -> None:
        """Give journaled answers their place while there is little else to do, or before they are too many to read."""
        while True:
            before = self.counters.rows
            await asyncio.sleep(SETTLE_SECONDS)
            try:
                if self._log.waiting_rows > (0 if self.counters.rows - before < QUIET_ROWS else JOURNALED_ROWS):
                    await self._in_writer(self._log.settle)
            except Exception:  # they stay where they are, and the next read says so
                _log.exception("%d answered rows wait in the journal", self._log.waiting_rows)


async def _finish(tasks: Set[asyncio.Task[None]], seconds: float) -> None:
    """Give tasks so long to end, then cancel them."""
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _variants(traffic: Traffic) -> list[Mapping[str, JSON]]:
    return [traffic.champion, *challengers_of(traffic).values()]


def _process_state(process: ModelProcess) -> dict[str, JSON]:
    return {"up": process.pid is not None, "pid": process.pid, "losses": process.losses}
