"""Names of samplers and pruners, and which of them need a group's trials one after the other."""

from __future__ import annotations

from airflow_ml.errors import InvalidSpace

RANDOM, GRID = "random", "grid"
#: Samplers that learn from the trials before, by Optuna: the name of the class, and the package it needs besides.
LEARNING: dict[str, tuple[str, str | None]] = {
    "tpe": ("TPESampler", None),
    "gp": ("GPSampler", "torch"),
    "cmaes": ("CmaEsSampler", "cmaes"),
    "nsgaii": ("NSGAIISampler", None),
    "qmc": ("QMCSampler", "scipy"),
}
#: Pruners, by Optuna, with its defaults. ``asha`` is successive halving without waiting for others (Li et al. 2020).
PRUNERS: dict[str, str] = {
    "median": "MedianPruner",
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}


def check_sampler(sampler: str, pruner: str | None) -> None:
    """Refuse names that nothing here has.

    Raises:
        InvalidSpace: an unknown sampler or pruner.
    """
    if sampler not in (RANDOM, GRID, *LEARNING):
        known = ", ".join([RANDOM, GRID, *LEARNING])
        raise InvalidSpace("Unknown sampler", repr(sampler), f"Use one of {known}.")
    if pruner is not None and pruner not in PRUNERS:
        raise InvalidSpace("Unknown pruner", repr(pruner), f"Use one of {', '.join(PRUNERS)}, or None.")


def in_sequence(sampler: str, pruner: str | None) -> bool:
    """Whether a group's trials run one after the other: each is chosen or pruned by those before it."""
    return sampler in LEARNING or pruner is not None
