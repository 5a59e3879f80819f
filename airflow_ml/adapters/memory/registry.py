"""The in-memory twin of the model registry."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from airflow_ml.adapters.mlflow_limits import MAX_VERSION_TAG_CHARS, check_plain, fit_tags
from airflow_ml.adapters.mlflow_runs import KEY_TAG
from airflow_ml.adapters.mlflow_sweep import TrackedSweep
from airflow_ml.core.ports import RegisteredModel
from airflow_ml.core.record import JSON
from airflow_ml.errors import AliasConflict, ConfigurationError, ModelNotFound


class MemoryRegistry:
    """A ``ModelRegistry`` that lasts as long as the object; safe for threads.

    Model directories are copied, so that a caller may delete its own after ``register``.
    """

    def __init__(self) -> None:
        self.uri = "memory:"
        self._lock = threading.RLock()
        self._folder = tempfile.TemporaryDirectory(prefix="airflow-ml-registry-")
        self._versions: dict[tuple[str, str], RegisteredModel] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._sweeps: dict[str, str] = {}

    def register(
        self,
        name: str,
        *,
        key: str,
        model_dir: Path,
        params: Mapping[str, JSON],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, Path],
        experiment: str,
    ) -> RegisteredModel:
        """Create a version, or return the one that was made with the same ``key``."""
        check_plain("model name", name)
        check_plain("key", key)
        with self._lock:
            own = {version: model for (model_name, version), model in self._versions.items() if model_name == name}
            for model in own.values():
                if model.tags[KEY_TAG] == key:
                    return model
            if not (model_dir / "MLmodel").is_file():
                raise ConfigurationError(
                    "Not an MLflow model directory", str(model_dir), "Give one with an MLmodel file."
                )
            version = str(len(own) + 1)
            target = Path(self._folder.name) / f"{len(self._versions) + 1}"
            shutil.copytree(model_dir, target / "model")
            for file_name, path in files.items():
                (target / file_name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / file_name)
            made = RegisteredModel(
                name=name,
                version=version,
                run_id=f"run-{len(self._versions) + 1}",
                source=(target / "model").as_uri(),
                tags=fit_tags({**tags, KEY_TAG: key}, MAX_VERSION_TAG_CHARS),
            )
            self._versions[name, version] = made
            return made

    def get(self, name: str, version: str) -> RegisteredModel:
        """Return one version; raises ModelNotFound."""
        with self._lock:
            try:
                return self._versions[name, str(version)]
            except KeyError:
                raise ModelNotFound(
                    "No such model version", f"{name} version {version}", "Register the model first."
                ) from None

    def by_alias(self, name: str, alias: str) -> RegisteredModel | None:
        """Return the version an alias points to, or None."""
        with self._lock:
            version = self._aliases.get((name, alias))
            return None if version is None else self._versions[name, version]

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Move an alias that now points to ``expected``; done already is done. Raises AliasConflict."""
        with self._lock:
            self.get(name, version)
            held = self._aliases.get((name, alias))
            if held == str(version):
                return
            if held != expected:
                raise AliasConflict(
                    f"The alias {alias} of {name} was moved by somebody else",
                    f"it points to {held or 'nothing'}, expected {expected or 'nothing'}",
                    "Look who moved it; start the rollout again from what serves now.",
                )
            self._aliases[name, alias] = str(version)

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version, or change them."""
        with self._lock:
            old = self.get(name, version)
            self._versions[name, str(version)] = RegisteredModel(
                name=old.name,
                version=old.version,
                run_id=old.run_id,
                source=old.source,
                tags={**old.tags, **fit_tags(tags, MAX_VERSION_TAG_CHARS)},
            )

    def log_sweep(self, sweep: TrackedSweep, *, on_progress: Callable[[int], None] = lambda done: None) -> str:
        """Remember a sweep and return its run id, the same one for the same key."""
        check_plain("key", sweep.key)
        on_progress(len(sweep.trials))
        with self._lock:
            return self._sweeps.setdefault(sweep.key, f"sweep-{len(self._sweeps) + 1}")
