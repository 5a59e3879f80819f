"""Traffic configurations on disk: one JSON file a model, replaced as a whole."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from airflow_ml.core.ports import Traffic
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
    """The folder ``<directory>/traffic``."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "traffic"
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, traffic: Traffic) -> None:
        """Store a configuration durably."""
        write_durably(self._folder / f"{traffic.model}.json", json.dumps(traffic_to_wire(traffic), indent=1))

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
