"""scikit-learn's own estimators over plain arrays: the same numbers without the cost of a frame and its names.

For a small batch most of what ``predict`` takes is looking at the frame: its columns' types and names, once for each
step of a pipeline. Where the caller has the features in their order already, that finds nothing.
"""

from __future__ import annotations

import copy
from typing import Any

#: Steps and models of whose input only the numbers count; each by the package that defines it. Whatever is not listed
#: (a column transformer, a function, an estimator of somebody else) may look at names.
_PACKAGES = ("sklearn.linear_model.", "sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.tree.")
_TRANSFORMERS = frozenset({"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "SimpleImputer"})
_NESTED = frozenset({"RANSACRegressor"})


def plain_estimator(model: Any, features: tuple[str, ...]) -> Any | None:
    """Return a copy of a fitted model that takes arrays, or None where only the model itself will do.

    The copy shares what was learned and forgets the names of its input, since scikit-learn warns of an array where it
    remembers names.

    Args:
        model: Of any kind.
        features: The columns of the arrays; the model must have been fitted on these, in this order.
    """
    if list(getattr(model, "feature_names_in_", ())) != list(features):
        return None
    return _forgetful(model)


def _forgetful(model: Any) -> Any | None:
    kind = type(model)
    if kind.__module__ == "sklearn.pipeline" and kind.__name__ == "Pipeline":
        steps = [(name, "passthrough" if step == "passthrough" else _forgetful(step)) for name, step in model.steps]
        if model.memory is not None or any(step is None for _, step in steps):
            return None
        pipeline = copy.copy(model)
        pipeline.steps = steps
        return pipeline
    if not _looks_at_numbers_only(model):
        return None
    plain = copy.copy(model)
    plain.__dict__.pop("feature_names_in_", None)
    return plain


def _looks_at_numbers_only(model: Any) -> bool:
    kind = type(model)
    package, name = kind.__module__, kind.__name__
    if getattr(model, "_sklearn_output_config", None):
        return False  # set_output: its result is a frame, whose names the next step looks at
    if package.startswith("sklearn.ensemble._hist_gradient_boosting."):
        return getattr(model, "_preprocessor", model) is None  # there is one where features are categories
    if package.startswith(("sklearn.preprocessing.", "sklearn.impute.")):
        return name in _TRANSFORMERS
    return package.startswith(_PACKAGES) and name not in _NESTED
