"""A leaderboard as a user's function sees it: its record, and its trials read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.sweep import Leaderboard

if TYPE_CHECKING:
    import pandas as pd


class OpenLeaderboard:
    """A `Leaderboard` with its trials.

    A `@task.ml` function is given it for a `Leaderboard`, and `airflow_ml.read` returns it. The fields of the record
    are also fields of this object: ``board.succeeded``.

    Args:
        record: The leaderboard.
        store: Where its files are; read when they are asked for.
    """

    def __init__(self, record: Leaderboard, store: ArtifactStore) -> None:
        self.record = record
        self._store = store

    @property
    def best(self) -> BestTrial:
        """The best trial of all, ``board.best.params``; called, the best for each value of a column,
        ``board.best(by="group")``."""
        return BestTrial(self.record, self._store)

    def to_pandas(self) -> pd.DataFrame:
        """Return all trials, best first within each group; columns as `Leaderboard` says."""
        from airflow_ml.runtime.leaderboard import to_pandas

        return to_pandas(self.record, self._store)

    def importance(self) -> dict[str, float]:
        """Return how much each parameter mattered, as shares of 1; empty where the sweep made no report."""
        from airflow_ml.runtime.sweep_pictures import read_report

        return {} if self.record.report is None else dict(read_report(self.record.report, self._store)["importance"])

    def pictures(self) -> dict[str, Path]:
        """Return the sweep's pictures as local PNG files by name; empty where it made none."""
        from airflow_ml.runtime.sweep_pictures import pictures_of

        return pictures_of(self.record, self._store)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "record" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["record"], name)

    def __repr__(self) -> str:
        best = self.record.best
        shown = f"best {self.record.metric} {best.value:.6g} in group {best.group}"
        return f"Leaderboard({self.record.trials} trials, {self.record.succeeded} succeeded, {shown})"


class BestTrial:
    """The best trial of a leaderboard in a few words, and the best of each part of it when it is called."""

    def __init__(self, record: Leaderboard, store: ArtifactStore) -> None:
        self._record, self._store = record, store
        summary = record.best
        #: Its name, such as ``t00017``.
        self.trial: str = summary.trial
        self.group: str = summary.group
        self.params: Mapping[str, JSON] = summary.params
        #: Of the metric that decides.
        self.value: float = summary.value

    def __call__(self, by: str | None = "group") -> list[dict[str, Any]]:
        """Return the best trial for each value of a column, in the order of its values.

        Args:
            by: A column of the leaderboard, such as ``group`` (default) or ``param_booster``; None for the one best.

        Returns:
            Rows with ``params`` and ``metrics`` as mappings. A value without a success has none.

        Raises:
            ColumnMissing: the leaderboard has no such column.
        """
        from airflow_ml.runtime.leaderboard import best

        return best(self._record, self._store, by=by)

    def __repr__(self) -> str:
        return f"{self.trial} in group {self.group}: {self.value:.6g} with {dict(self.params)}"
