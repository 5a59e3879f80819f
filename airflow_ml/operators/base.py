"""What every operator of this package shares: checks of its arguments, its store, its provenance, its errors."""

from __future__ import annotations

import abc
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException

from airflow_ml.core.argument_rules import Rule
from airflow_ml.core.record import JSON, Record
from airflow_ml.errors import AirflowMLError, ConfigurationError
from airflow_ml.hooks import store as store_hook
from airflow_ml.links import TaskPageLink
from airflow_ml.operators.arguments import is_known

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore


class MLOperator(BaseOperator, abc.ABC):
    """Base of the package's operators: ``run`` returns a record, which becomes the XCom as plain JSON.

    An error that running the same task again cannot cure (a missing table, a blocked gate) fails the task at once;
    every other error is retried as the task says.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (TaskPageLink(),)
    #: What the arguments must be, by name: looked at when the DAG file is parsed, templates when they are rendered.
    argument_rules: ClassVar[Mapping[str, Rule]] = {}

    def check_arguments(self, *, rendered: bool = False) -> None:
        """Refuse arguments that cannot work; called at the end of each ``__init__``, and before ``run``.

        Args:
            rendered: Whether templates and the outputs of other tasks are there by now.

        Raises:
            ConfigurationError: naming the argument, its value and what to give.
        """
        for name, rule in self.argument_rules.items():
            value, templated = getattr(self, name), name in self.template_fields
            if rendered and (rule.from_task or not templated):
                continue
            if is_known(value):
                rule.check(name, value, owner=self.task_id, templated=templated)
            elif not templated:
                raise ConfigurationError(
                    f"{name} of {self.task_id} is not templated", repr(value)[:120], f"Give {rule.meant}."
                )

    def execute(self, context: Context) -> Any:
        """Run, record what was done, and return the record in wire form."""
        from airflow_ml.operators.recording import recorded

        return recorded(self, context, lambda: self._run_to_wire(context))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral; the outcome is recorded as for any other task."""
        from airflow_ml.operators.recording import recorded

        goes_on = super().resume_execution
        return recorded(self, context, lambda: goes_on(next_method, next_kwargs, context))

    def _run_to_wire(self, context: Context) -> Any:
        with failing_at_once():
            self.check_arguments(rendered=True)
            result = self.run(context)
            wire = result.to_xcom() if isinstance(result, Record) else result
            self._refuse_mapping(wire, context)
        return wire

    @abc.abstractmethod
    def run(self, context: Context) -> Record | JSON | None:
        """Do the stage's work; Airflow calls ``execute``."""

    def push_record(self, context: Context, key: str, record: Record) -> None:
        """Push a record under an XCom key of its own; it is part of the task's provenance, even if the task then fails.

        Raises:
            RecordTooLarge: it is over the limit for XCom.
        """
        context["ti"].xcom_push(key=key, value=record.to_xcom())
        self.pushed_records = {**getattr(self, "pushed_records", {}), key: record}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what the task tells OpenLineage; the OpenLineage provider asks, where it is installed."""
        from airflow_ml.operators.openlineage import lineage_of, without_connection

        record = getattr(self, "recorded_provenance", None)
        return None if record is None else lineage_of(record, without_connection(store_hook.store_uri()))

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """Return what a failed task tells OpenLineage."""
        return self.get_openlineage_facets_on_complete(task_instance)

    def store(self) -> ArtifactStore:
        """Open the deployment's artifact store (``[ml] artifact_store``)."""
        return store_hook.artifact_store()

    @property
    def namespace(self) -> str:
        """The deployment's namespace (``[ml] namespace``)."""
        return store_hook.namespace()

    def _refuse_mapping(self, wire: Any, context: Context) -> None:
        """Raise where a task downstream is mapped over one record: Airflow would silently map over its keys.

        What all instances of a mapped task return is a list of records, over which Airflow maps as it should.
        """
        alone = getattr(context["ti"], "map_index", -1) in (None, -1)
        if alone and isinstance(wire, dict) and isinstance(wire.get("record"), str):
            in_dag = self.has_dag()  # type: ignore[no-untyped-call]
            mapped = next(self.iter_mapped_dependants(), None) if in_dag else None
            if mapped is not None:
                raise ConfigurationError(
                    f"{mapped.node_id} is mapped over one {wire['record']}",
                    f"the output of {self.task_id}",
                    "Map over a task that returns a list: `-> list[...]` gives one artifact for each item.",
                )

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a private folder for temporary files, removed at the end."""
        with tempfile.TemporaryDirectory(prefix="airflow-ml-", dir=store_hook.work_directory()) as folder:
            yield Path(folder)


@contextmanager
def failing_at_once() -> Iterator[None]:
    """Turn errors that a retry cannot cure into Airflow's own fail-at-once exception."""
    try:
        yield
    except AirflowMLError as error:
        if error.retryable:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


def task_names(context: Context) -> dict[str, str]:
    """Return what identifies a task over all its tries: ``dag``, ``run``, ``task`` and, if mapped, ``map_index``."""
    instance = context["ti"]
    names = {"dag": instance.dag_id, "run": instance.run_id, "task": instance.task_id}
    map_index = getattr(instance, "map_index", -1)
    return {**names, "map_index": str(map_index)} if map_index is not None and map_index >= 0 else names
