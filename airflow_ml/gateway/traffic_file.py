"""Traffic configurations on disk: what is in effect, one JSON file a model, and a line for each change."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError, ConfigurationError
from airflow_ml.gateway.wire import traffic_from_wire, traffic_to_wire


def write_durably(path: Path, text: str) -> None:
    """Replace a file so that a crash at any moment, of the machine too, leaves the old or the new content whole."""
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class TrafficFiles:
    """The folders ``<directory>/traffic``, what is in effect, and ``<directory>/changes``, what was and when.

    A change is a line of JSON: ``at`` (wall clock), ``epoch``, ``champion``, ``challenger`` and ``others`` (versions),
    ``stopped`` (arms), ``shadow``, ``weight_percent``, ``expires_at``. Writes that only move ``expires_at`` are none.
    """

    def __init__(self, directory: Path) -> None:
        self._folder, self._changes = directory / "traffic", directory / "changes"
        for folder in (self._folder, self._changes):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, traffic: Traffic) -> None:
        """Store a configuration durably."""
        write_durably(self._folder / f"{traffic.model}.json", json.dumps(traffic_to_wire(traffic), indent=1))

    def note(self, traffic: Traffic, at: datetime) -> None:
        """Append a change; a crash of the machine may cost the last ones."""
        line: dict[str, JSON] = {
            "at": format_time(at),
            "epoch": traffic.epoch,
            "champion": traffic.champion["version"],
            "challenger": traffic.challenger["version"] if traffic.challenger else None,
            "others": [other["version"] for other in traffic.others],
            "stopped": list(traffic.stopped),
            "shadow": traffic.shadow,
            "weight_percent": traffic.weight_percent,
            "expires_at": None if traffic.expires_at is None else format_time(traffic.expires_at),
        }
        with (self._changes / f"{traffic.model}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def changes(self, model: str) -> list[dict[str, JSON]]:
        """Return a model's changes, oldest first; none where it has none."""
        path = self._changes / f"{model}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def read_all(self) -> Iterator[Traffic]:
        """Yield every stored configuration.

        Raises:
            ConfigurationError: a file that is none; serving on without it would forget its epoch.
        """
        for path in sorted(self._folder.glob("*.json")):
            try:
                yield traffic_from_wire(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, AirflowMLError) as error:
                raise ConfigurationError(
                    f"The traffic file {path.name} cannot be read",
                    error,
                    "Restore it, or delete it and set traffic again.",
                ) from error
