"""MLflow as model registry and tracker.

MLflow has neither an idempotency key nor a compare-and-swap. So every run and version carries the tag
``airflow_ml.key``, searched for before and after something is made; of two the earlier counts. An alias is read,
compared and set, which narrows a race but cannot exclude it: the record of a rollout is the truth, an alias its
projection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.adapters.mlflow_limits import MAX_VERSION_TAG_CHARS, check_plain, fit_tags
from airflow_ml.adapters.mlflow_runs import KEY_TAG, ensure_experiment, ensure_run, finish, log, mark_doubles, upload
from airflow_ml.adapters.mlflow_session import Operation, Session, already_exists
from airflow_ml.adapters.mlflow_sweep import TrackedSweep, log_sweep
from airflow_ml.core.ports import RegisteredModel
from airflow_ml.core.record import JSON
from airflow_ml.errors import AliasConflict, ModelNotFound, RegistryError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion as MLflowVersion

#: Where the model lies among a run's files.
_MODEL_FOLDER = "model"


class MLflowRegistry:
    """A ``ModelRegistry`` on an MLflow server, version 3.17 or later.

    Uses ``MlflowClient`` alone, never MLflow's process-wide state; its telemetry is off. Every operation ends within
    ``deadline_seconds`` (uploads aside), also against a server that accepts and never answers.

    Args:
        tracking_uri: For example ``http://mlflow:5000``.
        registry_uri: Where the registry is another server than the tracking one.
        username: For basic authentication.
        password: Its password; without a username, a bearer token.
        deadline_seconds: Default 60: well above a slow answer, well below a task's patience.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        registry_uri: str | None = None,
        username: str | None = None,
        password: str | None = None,
        deadline_seconds: float = 60.0,
    ) -> None:
        self._session = Session(
            tracking_uri,
            registry_uri=registry_uri,
            username=username,
            password=password,
            deadline_seconds=deadline_seconds,
        )
        #: The server's address, without credentials.
        self.uri = self._session.uri

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
        """Create a version from an MLflow model directory, or return the one that was made with the same ``key``.

        Args:
            name: Of the registered model; made if absent.
            key: The identity of the model (at most 250 characters): the same key never makes a second version.
            model_dir: A folder with an ``MLmodel`` file.
            params: Logged to the run; long values keep their head and get the digest of the whole.
            metrics: Logged to the run; those that are not finite are named in a tag.
            tags: Set on the run and on the version.
            files: Uploaded to the run by name, ``{"leaderboard.parquet": path}``.
            experiment: Name of the experiment that holds the run; made if absent.

        Raises:
            RegistryUnavailable: no answer in time; running again adopts what was made so far.
            RegistryError: the server refuses.
        """
        check_plain("model name", name)
        check_plain("key", key)
        with self._session.operation() as operation:
            if found := self._with_key(operation, name, key):
                return _registered(found[0])
            experiment_id = ensure_experiment(operation, experiment)
            run = ensure_run(operation, experiment_id, key=key, name=name)
            log(operation, run, params=params, metrics=metrics, tags=tags)
            upload(operation, run.info.run_id, {_MODEL_FOLDER: model_dir, **files})
            # Uploads may take long; the version is made within a time of its own.
        with self._session.operation() as operation:
            self._ensure_name(operation, name)
            version = self._ensure_version(operation, name, key, run, tags)
            finish(operation, str(version.run_id))
            mark_doubles(operation, experiment_id, key=key, of=str(version.run_id))
            return _registered(version)

    def get(self, name: str, version: str) -> RegisteredModel:
        """Return one version.

        Raises:
            ModelNotFound, RegistryUnavailable.
        """
        check_plain("model name", name)
        if not str(version).isdigit():
            raise ModelNotFound(f"No version of {name} with that number", repr(version), "Versions are whole numbers.")
        with self._session.operation() as operation:
            found = operation.step(
                f"version {version} of {name}",
                lambda: operation.client.get_model_version(name, str(version)),
                absent_ok=True,
            )
        if found is None:
            raise ModelNotFound("No such model version", f"{name} version {version}", "Register the model first.")
        return _registered(found)

    def by_alias(self, name: str, alias: str) -> RegisteredModel | None:
        """Return the version an alias points to; None where the alias or the model does not exist."""
        check_plain("model name", name)
        with self._session.operation() as operation:
            return self._by_alias(operation, name, alias)

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Move an alias that now points to ``expected`` (None: to nothing); done already is done.

        Raises:
            AliasConflict: it points elsewhere, before or after.
            ModelNotFound: no such version.
        """
        self.get(name, version)
        with self._session.operation() as operation:
            before = self._by_alias(operation, name, alias)
            held = before.version if before else None
            if held == str(version):
                return
            if held != expected:
                raise _conflict(name, alias, held, expected)
            operation.step(
                f"set alias {alias}",
                lambda: operation.client.set_registered_model_alias(name, alias, str(version)),
            )
            after = self._by_alias(operation, name, alias)
            if after is None or after.version != str(version):
                raise _conflict(name, alias, after.version if after else None, str(version))

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version, or change them."""
        self.get(name, version)
        with self._session.operation() as operation:
            for tag, value in fit_tags(tags, MAX_VERSION_TAG_CHARS).items():
                operation.step(
                    f"set tag {tag}",
                    partial(operation.client.set_model_version_tag, name, str(version), tag, value),
                )

    def log_sweep(self, sweep: TrackedSweep, *, on_progress: Callable[[int], None] = lambda done: None) -> str:
        """Log a sweep as one run with its leaderboard, and trials as child runs; return the parent's id.

        Raises:
            RegistryUnavailable, RegistryError: as ``register``.
        """
        return log_sweep(self._session, sweep, on_progress=on_progress)

    def _by_alias(self, operation: Operation, name: str, alias: str) -> RegisteredModel | None:
        model = operation.step(
            f"aliases of {name}", lambda: operation.client.get_registered_model(name), absent_ok=True
        )
        version = None if model is None else model.aliases.get(alias)
        if version is None:
            return None
        found = operation.step(
            f"version {version} of {name}",
            lambda: operation.client.get_model_version(name, str(version)),
            absent_ok=True,
        )
        return None if found is None else _registered(found)

    def _with_key(self, operation: Operation, name: str, key: str) -> list[MLflowVersion]:
        """Return the versions with a key, the earliest first."""
        query = f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'"
        found = operation.step(f"versions of {name}", lambda: list(operation.client.search_model_versions(query)))
        return sorted(found or [], key=lambda version: int(version.version))

    def _ensure_name(self, operation: Operation, name: str) -> None:
        from mlflow.exceptions import MlflowException

        def create() -> None:
            try:
                operation.client.create_registered_model(name)
            except MlflowException as error:
                if not already_exists(error):
                    raise

        operation.step(f"model {name}", create)

    def _ensure_version(
        self, operation: Operation, name: str, key: str, run: Run, tags: Mapping[str, str]
    ) -> MLflowVersion:
        labels = fit_tags({**tags, KEY_TAG: key}, MAX_VERSION_TAG_CHARS)
        source = f"{run.info.artifact_uri}/{_MODEL_FOLDER}"

        def find_or_create() -> MLflowVersion:
            if not self._with_key(operation, name, key):
                operation.client.create_model_version(
                    name, source, run_id=run.info.run_id, tags=labels, await_creation_for=15
                )
            versions = self._with_key(operation, name, key)
            if not versions:
                raise RegistryError("A version that was just made cannot be found", f"{name}, {key}", "Retry the task.")
            for double in versions[1:]:
                operation.step(
                    "delete a double",
                    partial(operation.client.delete_model_version, name, double.version),
                    absent_ok=True,
                )
            return versions[0]

        return operation.need(f"version of {name}", find_or_create)


def _registered(version: MLflowVersion) -> RegisteredModel:
    return RegisteredModel(
        name=str(version.name),
        version=str(version.version),
        run_id=str(version.run_id or ""),
        source=str(version.source or ""),
        tags=dict(version.tags or {}),
    )


def _conflict(name: str, alias: str, held: str | None, expected: str | None) -> AliasConflict:
    return AliasConflict(
        f"The alias {alias} of {name} was moved by somebody else",
        f"it points to {held or 'nothing'}, expected {expected or 'nothing'}",
        "Look in the registry who moved it; start the rollout again from what serves now.",
    )
