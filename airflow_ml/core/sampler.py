"""Names of samplers and pruners, and which of them need a group's trials one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_ml.core.record import JSON
from airflow_ml.errors import InvalidSpace

RANDOM, GRID, SOBOL, HALTON = "random", "grid", "sobol", "halton"
#: The trials are given one by one, see ``trials``.
LISTED = "listed"
#: Samplers that learn from the trials before, by Optuna: the name of the class, and the package it needs besides.
LEARNING: dict[str, tuple[str, str | None]] = {
    "tpe": ("TPESampler", None),
    "gp": ("GPSampler", "torch"),
    "cmaes": ("CmaEsSampler", "cmaes"),
    "nsgaii": ("NSGAIISampler", None),
    "nsgaiii": ("NSGAIIISampler", None),
}
#: Packages that classes of Optuna need, however they are named.
NEEDED: dict[str, str] = {name: package for name, package in LEARNING.values() if package} | {"QMCSampler": "scipy"}
#: Pruners, by Optuna, with its defaults. ``asha`` is successive halving without waiting for others (Li et al. 2020).
PRUNERS: dict[str, str] = {
    "median": "MedianPruner",
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}
#: Optuna's other name for what is planned at once here.
_SYNONYMS = {"qmc": SOBOL}
#: Samplers whose trials are all known when the sweep is planned.
PLANNED = (RANDOM, GRID, SOBOL, HALTON, LISTED)


def optuna_class(name: str) -> str:
    """Return the name of the class that a sampler or pruner has in Optuna."""
    return LEARNING[name][0] if name in LEARNING else PRUNERS.get(name, name)


def read_choice(value: Any, *, kind: str) -> tuple[str, dict[str, JSON]]:
    """Return the name and the options of a sampler or pruner.

    Args:
        value: A name, or ``{"optuna": <class>, "options": {...}}``.
        kind: ``Sampler`` or ``Pruner``.

    Raises:
        InvalidSpace: nothing here has such a name. A class of Optuna is looked up later.
    """
    options: dict[str, JSON] = {}
    name = value
    if isinstance(value, Mapping) and set(value) <= {"optuna", "options"}:
        name, options = value.get("optuna"), dict(value.get("options") or {})
    known = [*PLANNED[:-1], *LEARNING] if kind == "Sampler" else list(PRUNERS)
    if isinstance(name, str):
        name = _SYNONYMS.get(name, name)
        if name in known or (name.endswith(kind) and name.isidentifier() and name != f"Base{kind}"):
            return name, options
    example = "TPESampler" if kind == "Sampler" else "PercentilePruner"
    remedy = f"Use one of {', '.join(known)}, or a class of Optuna such as {example}."
    raise InvalidSpace(f"Unknown {kind.lower()}", repr(value)[:120], remedy)


def in_sequence(sampler: str, pruner: str | None) -> bool:
    """Whether a group's trials run one after the other, or batch after batch: each is chosen or pruned by those before
    it."""
    return sampler not in PLANNED or pruner is not None
