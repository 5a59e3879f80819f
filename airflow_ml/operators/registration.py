"""Stage 6, registration: a version in MLflow with its whole provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.assets import create_asset
from airflow_ml.core import argument_rules as rules
from airflow_ml.core.aliases import CHALLENGER, CHAMPION, alias_in
from airflow_ml.core.fingerprint import canonical_json, digest_json
from airflow_ml.core.record import parse_as
from airflow_ml.errors import ConfigurationError
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.store import namespace
from airflow_ml.links import ModelPageLink, ModelVersionLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, task_names
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.features import FeatureSet
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.registration import ModelVersion
    from airflow_ml.core.selection import Selection

#: Rows of the validate split that the version shows as its input example.
EXAMPLE_ROWS = 5


class RegisterModelOperator(MLOperator):
    """Register a selection as a new model version with the alias ``challenger``, and emit the alias' asset event.

    The version has the model's files, signature, input example, metrics, the leaderboard, and tags for its lineage.

    Retry, clear, of this task or of any before it: the same models from the same features are the same version; no
    second one is created, and the alias points to it again. Kill, timeout: run again.

    Args:
        selection: The `Selection` that passed its gate (templated).
        name: Name of the registered model. Not templated: it names the asset that other DAGs are scheduled on, which
            Airflow must know when it parses the file.
        alias: Alias for the version. Default ``challenger``; ``champion`` is refused, as only a canary moves it.
        tags: Further tags (templated).
        mlflow_conn_id: Airflow connection of the registry (templated).

    Raises:
        ConfigurationError: when the DAG file is parsed, for a templated name or the alias ``champion``.
        RegistryUnavailable: MLflow does not answer.
    """

    template_fields: Sequence[str] = ("selection", "tags", "mlflow_conn_id")
    operator_extra_links = (TaskPageLink(), ModelPageLink(), ModelVersionLink())
    ui_color = "#fce7f3"
    argument_rules = {
        "selection": rules.record("Selection"),
        "name": rules.text(),
        "alias": rules.text(),
        "tags": rules.mapping(),
        "mlflow_conn_id": rules.text(),
    }

    def __init__(
        self,
        selection: Any,
        *,
        name: str,
        alias: str = CHALLENGER,
        tags: Mapping[str, Any] | None = None,
        mlflow_conn_id: str = "mlflow_default",
        task_id: str = "register_model",
        **kwargs: Any,
    ) -> None:
        if not isinstance(name, str) or "{{" in name:
            raise ConfigurationError(
                "The name of a registered model must be known when the DAG file is parsed",
                repr(name),
                "Write the name itself, without XComArg and Jinja.",
            )
        if alias == CHAMPION:
            raise ConfigurationError(
                "A new version cannot be registered as the champion",
                f"alias={alias!r}",
                "Register it as challenger: canary installs a first champion and later moves the alias.",
            )
        alias = alias_in(namespace(), alias)
        outlets = [*kwargs.pop("outlets", []), create_asset(model=name, alias=alias)]
        super().__init__(task_id=task_id, outlets=outlets, **kwargs)
        self.selection = plain(selection)
        self.name = name
        self.alias = alias
        self.tags = plain(tags) if tags is not None else {}
        self.mlflow_conn_id = mlflow_conn_id
        self.check_arguments()

    def run(self, context: Context) -> ModelVersion:
        """Write the model, register it, move the alias."""
        from airflow_ml.adapters.registration import provenance_tags
        from airflow_ml.core.features import FeatureSet
        from airflow_ml.core.provenance import record_digest
        from airflow_ml.core.registration import ModelVersion
        from airflow_ml.core.selection import Selection
        from airflow_ml.hooks.variant import variant_tags
        from airflow_ml.operators.secret_masking import masked
        from airflow_ml.operators.task_origin import origin_tags
        from airflow_ml.runtime.ref_append import append_last

        selection = parse_as(Selection, self.selection)
        features = parse_as(FeatureSet, selection.data)
        hook = MLflowHook(self.mlflow_conn_id)
        registry, store = hook.registry(), self.store()
        names = task_names(context)
        draft = ModelVersion(
            name=self.name,
            version="",
            run_id="",
            model_uri="",
            models=selection.models,
            model_digest=selection.models.digest,
            view=features.view,
            view_digest=features.view_digest,
            view_definition=features.definition,
            features=features.features,
            metrics={f"validate_{selection.metric}": selection.value},
            alias=self.alias,
            namespace=self.namespace,
            made_by=names,
            parents=(selection.fingerprint,),
        )
        data = store.put_bytes(canonical_json(features.to_dict()), format="json")
        with self.scratch() as folder:
            registered = registry.register(
                self.name,
                key=_identity(self.namespace, self.name, selection, features),
                model_dir=_write_model(store, selection, features, folder),
                params={"refit": selection.refit, "groups": selection.groups},
                metrics=draft.metrics,
                tags={
                    **origin_tags(self, context),
                    **provenance_tags(selection, features, names=names, namespace=self.namespace),
                    **variant_tags(draft, data),
                    **{name: str(masked(value, name)) for name, value in self.tags.items()},
                },
                files={"leaderboard.parquet": store.path(selection.leaderboard)},
                experiment=hook.experiment() or names["dag"],
            )
        current = registry.by_alias(self.name, self.alias)
        registry.set_alias(self.name, self.alias, registered.version, expected=current.version if current else None)
        version = _with_version(draft, registered.version, registered.run_id)
        ref = f"models/{self.namespace}/{self.name}"
        newest = store.latest(ref)
        if newest is None or record_digest(newest.value) != version.fingerprint:  # whoever registered it first stays
            append_last(store, ref, version.to_dict())
        context["outlet_events"][create_asset(model=self.name, alias=self.alias)].extra = {
            "version": registered.version,
            "model_digest": version.model_digest,
        }
        self.log.info("%s version %s has the alias %s", self.name, registered.version, self.alias)
        return version


@with_arguments_of(RegisterModelOperator)
def register_model(selection: Any, **kwargs: Any) -> Any:
    """Build a `RegisterModelOperator` from the same arguments and return its output, a `ModelVersion`."""
    return RegisterModelOperator(selection=selection, **kwargs).output


def _identity(namespace: str, name: str, selection: Selection, features: FeatureSet) -> str:
    """Return what makes a version the same version: content alone.

    The selection's fingerprint will not do: its ancestor, the snapshot, names the warehouse's statement, and that is
    another one whenever the snapshot's task is cleared.
    """
    return digest_json([namespace, name, selection.models.digest, features.view_digest, features.artifact.digest])


def _write_model(store: ArtifactStore, selection: Selection, features: FeatureSet, folder: Path) -> Path:
    from airflow_ml.runtime.data import Data
    from airflow_ml.runtime.grouped_model import write_model_dir

    example, _ = next(Data(store.path(features.artifact), features).validate.batches(EXAMPLE_ROWS))
    into = folder / "model"
    write_model_dir(store, selection.models, features, into, example)
    return into


def _with_version(draft: ModelVersion, version: str, run_id: str) -> ModelVersion:
    from airflow_ml.core.registration import ModelVersion

    wire = {**draft.to_dict(), "version": version, "run_id": run_id, "model_uri": f"models:/{draft.name}/{version}"}
    return ModelVersion.from_dict(wire)
