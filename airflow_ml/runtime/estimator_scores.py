"""One number per row from an estimator, whichever kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_ml.errors import ModelNotServable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_SERVABLE = "Return a fitted estimator with predict or predict_proba from your training function."


def check_servable(model: Any) -> Any:
    """Return a model that can answer.

    Raises:
        ModelNotServable: it has neither ``predict_proba`` nor ``predict``.
    """
    if not callable(getattr(model, "predict_proba", None)) and not callable(getattr(model, "predict", None)):
        raise ModelNotServable(
            "A model without predict", f"{type(model).__module__}.{type(model).__qualname__}", _SERVABLE
        )
    return model


def own_columns(model: Any, features: Sequence[str]) -> list[str] | None:
    """Return the columns that a model was fitted on where they are some of the features, or in an order of its own.

    scikit-learn and what keeps to its conventions remember their names, and refuse a frame with others.

    Returns:
        None where the model takes the features as they are, or does not say.
    """
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    return names if names and names != list(features) and set(names) <= set(features) else None


def scores_of(model: Any, rows: pd.DataFrame | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return float64, shape ``(len(rows),)``: the positive class's probability where there is one, else predictions.

    Raises:
        ModelNotServable: the model answers in another shape.
    """
    import numpy as np

    if callable(getattr(model, "predict_proba", None)):
        answer = np.asarray(model.predict_proba(rows), dtype=np.float64)
        if answer.ndim == 2 and answer.shape[1] > 2:
            raise ModelNotServable(
                "A classifier of several classes cannot be gated or served",
                f"{type(model).__qualname__} of {answer.shape[1]} classes",
                "Learn one of them against the others: a label of 0 and 1 in the snapshot's SQL, with a view for each.",
            )
        if answer.ndim == 2 and answer.shape[1] == 2:
            answer = answer[:, 1]  # classes_ are sorted: the second is the positive one
        elif answer.ndim == 2 and answer.shape[1] == 1:
            # A group whose rows all have one label: the model is sure of the only class it knows.
            answer = np.full(len(rows), float(bool(model.classes_[0])))
    else:
        answer = np.asarray(model.predict(rows), dtype=np.float64)
    if answer.shape != (len(rows),):
        raise ModelNotServable(
            "A model must answer with one number per row",
            f"{type(model).__qualname__} answered {len(rows)} rows with shape {answer.shape}",
            "Use a binary classifier or a regressor with one output.",
        )
    return answer
