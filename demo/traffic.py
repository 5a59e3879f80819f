"""The demo's traffic as a process of its own: ``python -m demo.replay`` beside a canary, and what it says meanwhile."""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from types import TracebackType
from typing import Self

from airflow_ml.testing.child_process import ChildProcess, last_lines, stop
from demo.airflow_stack import PROJECT, Stack

#: The canary's pre-flight loads two models; nothing is sent before the challenger has traffic.
WAIT_FOR_SPLIT_SECONDS = 120


class Traffic:
    """Real flights sent to the gateway while the block runs.

    Args:
        stack: The parts, ready.
        name: Of the log: ``.demo/logs/traffic-<name>.log``.
        start: First day of the flights.
        days: How many days are sent unless the rollout ends before.
        seconds_per_day: Wall-clock seconds of one data day.
    """

    def __init__(self, stack: Stack, name: str, start: date, days: int, seconds_per_day: float) -> None:
        self._stack = stack
        self._log_path = stack.logs / f"traffic-{name}.log"
        command = [sys.executable, "-m", "demo.replay", "--gateway", stack.gateway.url, "--store", stack.store_uri]
        command += ["--start", start.isoformat(), "--days", str(days), "--seconds-per-day", str(seconds_per_day)]
        command += ["--wait-for-split-seconds", str(WAIT_FOR_SPLIT_SECONDS), "--until-rollout-ends"]
        self._command = command
        self._process: ChildProcess | None = None

    def __enter__(self) -> Self:
        # The marker is in this process's environment: a killed demo's traffic is found as its other parts are.
        self._process = ChildProcess("traffic", self._command, log_path=self._log_path, env=os.environ, cwd=PROJECT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            stop([self._process.id], grace_seconds=10)

    def failure(self) -> str | None:
        """Return the end of its log if it failed; None while it is well."""
        code = self._process.exit_code if self._process is not None else None
        return None if code in (None, 0) else f"The traffic ended with code {code}:\n{last_lines(self._log_path)}"

    def figures(self) -> str:
        """Return what was sent, in a few words: day, weight and requests of each variant."""
        try:
            sent = json.loads(last_lines(self._log_path, 1))
            requests = ", ".join(f"{count:,} {variant}" for variant, count in sorted(sent["requests"].items()))
            return f"{sent['day']}, {sent['weight_percent']:g} %: {requests}"
        except (ValueError, KeyError, TypeError):
            return "waiting for traffic"
