"""Fitting the winners of a sweep again, on all rows: the models that will serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_ml.core.call import FunctionRef
from airflow_ml.core.features import TRAIN, VALIDATE, FeatureSet
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.selection import REFIT_NONE, REFIT_TRAIN, REFIT_TRAIN_VALIDATE, pooled_params
from airflow_ml.core.trials import ALL
from airflow_ml.errors import ConfigurationError, ModelNotServable
from airflow_ml.runtime.codecs import store_value
from airflow_ml.runtime.context import CallContext, current
from airflow_ml.runtime.data import Data
from airflow_ml.runtime.estimator_scores import check_servable, own_columns, scores_of
from airflow_ml.runtime.load import load_function
from airflow_ml.runtime.trial import Trial, accepts
from airflow_ml.runtime.worker import seed_everything

#: Rows that a fitted model has to answer before it is stored.
_ROWS_TO_ASK = 20

_SPLITS = {REFIT_NONE: (TRAIN,), REFIT_TRAIN: (TRAIN,), REFIT_TRAIN_VALIDATE: (TRAIN, VALIDATE)}


def refit(
    function: Mapping[str, Any],
    features: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    by: str | None,
    mode: str,
    constants: Mapping[str, JSON],
    max_train_rows: int | None = None,
) -> dict[str, JSON]:
    """Fit each group's winner, and one pooled model over all rows; return the manifest's artifact in wire form.

    Groups are fitted one after the other, since a model may use all CPUs. Each fit has its trial's parameters and seed;
    the pooled model takes those of the group with the most rows (see ``core.selection.pooled_params``).

    Args:
        function: The training function, a `FunctionRef` in wire form.
        features: The `FeatureSet` in wire form.
        members: Winners as ``{"group", "params", "trial", "value", "seed"}``.
        by: Column of the groups; None for one model of all rows, which then is the pooled model, too.
        mode: ``train`` or ``train+validate``: the splits to fit on, all their rows. ``none``: fit as the trial did.
        constants: Further arguments of the function.
        max_train_rows: For ``none``, the sweep's own limit.

    Raises:
        ConfigurationError: an unknown mode, or no members.
        ModelNotServable: the function returns no model, or one without predict.
        NoCodec: the model cannot be stored without pickle.
    """
    if mode not in _SPLITS:
        raise ConfigurationError("Unknown refit mode", repr(mode), f"Use one of {', '.join(_SPLITS)}.")
    if not members:
        raise ConfigurationError("There is no winner to refit", "[]", "Select from a sweep in which trials succeeded.")
    call = current()
    reference = parse_as(FunctionRef, function)
    record = parse_as(FeatureSet, features)
    fitter = _Fitter(
        call=call,
        function=load_function(reference, call.store),
        name=reference.qualname,
        path=call.store.path(record.artifact),
        features=record,
        options={
            "train_splits": _SPLITS[mode],
            "max_train_rows": max_train_rows if mode == REFIT_NONE else None,
            "seed": call.call.seed,
        },
        constants=constants,
    )
    fitted: dict[str, dict[str, JSON]] = {}
    for member in sorted(members, key=lambda item: str(item["group"])):
        group = str(member["group"])
        fitted[group] = fitter.fit(member, None if by is None else (by, group))
    if by is None:
        pooled = next(iter(fitted.values()))
    else:
        rows = {group: entry["rows"] for group, entry in fitted.items()}
        pooled = fitter.fit(pooled_params(members, rows), None)  # type: ignore[arg-type]  # rows are ints
    manifest: dict[str, JSON] = {
        "by": by,
        "features": list(record.features),
        "categories": fitter.categories(),
        "members": dict(fitted),
        "pooled": pooled,
    }
    return store_value(manifest, call.store, name="models").to_dict()


class _Fitter:
    """Calls the user's function as a trial does, on other rows."""

    def __init__(
        self,
        *,
        call: CallContext,
        function: Callable[..., Any],
        name: str,
        path: Path,
        features: FeatureSet,
        options: Mapping[str, Any],
        constants: Mapping[str, JSON],
    ) -> None:
        self._call, self._function, self._name = call, function, name
        self._path, self._features, self._options, self._constants = path, features, options, constants

    def categories(self) -> dict[str, JSON]:
        """Return the fixed values of the text features: those of the training split, whatever the group."""
        found = Data(self._path, self._features).categories
        return {name: list(values) for name, values in found.items()}

    def fit(self, member: Mapping[str, Any], group: tuple[str, str] | None) -> dict[str, JSON]:
        """Fit one model, store it and return its entry in the manifest."""
        began = time.monotonic()
        shown = group[1] if group else ALL
        data = Data(self._path, self._features, group=group, **self._options)
        trial = Trial(str(member["trial"]), shown, int(member["seed"] or 0))
        seed_everything(trial.seed)
        given: dict[str, Any] = {**self._constants, "data": data, "params": dict(member["params"])}
        if accepts(self._function, "trial"):
            given["trial"] = trial
        model = self._model_of(self._function(**given))
        self._check_answers(model, data)
        artifact = store_value(model, self._call.store, name=f"model {shown}")
        rows = data.train.rows
        self._call.log(f"{shown}: fitted on {rows:,} rows in {time.monotonic() - began:.1f} s")
        return {
            "params": dict(member["params"]),
            "trial": str(member["trial"]),
            "value": member["value"],
            "seed": trial.seed,
            "rows": rows,
            "validate_rows": data.validate.rows,
            "model": artifact.to_dict(),
        }

    def _model_of(self, returned: object) -> Any:
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise ModelNotServable(
                f"The training function {self._name} returns no model",
                f"it returned a {type(returned).__name__}",
                "Return (metrics, model): the metrics for the leaderboard and the fitted estimator.",
            )
        return check_servable(returned[1])

    def _check_answers(self, model: Any, data: Data) -> None:
        """Ask the model as it will be asked, so that one which cannot answer ends here and not behind a deployment.

        Raises:
            ModelNotServable: it does not take the view's features, or does not answer with one number for each row.
        """
        rows, _ = next(data.train.batches(_ROWS_TO_ASK))
        columns = own_columns(model, self._features.features)
        try:
            scores_of(model, rows if columns is None else rows[columns])
        except ModelNotServable:
            raise
        except Exception as error:  # whatever somebody's model raises
            raise ModelNotServable(
                f"The model of {self._name} does not answer to the features {', '.join(self._features.features)[:200]}",
                f"{type(error).__name__}: {str(error)[:300]}",
                "Fit it on columns of data.train.X, all or some; what makes others of them belongs into the model, "
                "as a step of a scikit-learn Pipeline.",
            ) from error
