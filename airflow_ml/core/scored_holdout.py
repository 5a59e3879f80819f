"""The sealed rows of the test split with the predictions on them, which model checks judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from airflow_ml.errors import ColumnMissing, EmptyDataset, GateErrored


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredHoldout:
    """The sealed rows, scored: every sequence has one entry per row."""

    label: Sequence[float]
    candidate: Sequence[float]
    #: None where there is no champion yet.
    champion: Sequence[float] | None
    #: The trivial predictor: the training label's mean, on every row.
    baseline: Sequence[float]
    #: The data day of each row, ``2013-05-01``: rows of a day are not independent.
    cluster: Sequence[str]
    #: Columns to slice by.
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def column(self, name: str) -> Sequence[str]:
        """Return a column of the slices.

        Raises:
            ColumnMissing: naming those there are.
        """
        if name not in self.slices:
            known = ", ".join(sorted(self.slices)) or "none"
            raise ColumnMissing("No such column to slice by", name, f"Carry it beside the features; carried: {known}.")
        return self.slices[name]

    def check(self) -> None:
        """Refuse what no check can be computed on.

        Raises:
            EmptyDataset: there are no rows.
            GateErrored: the sequences have different lengths.
        """
        rows = len(self.label)
        if not rows:
            raise EmptyDataset("The sealed holdout has no rows", "0", "Make the test split longer.")
        columns: dict[str, Sequence[object]] = {
            "candidate": self.candidate,
            "baseline": self.baseline,
            "cluster": self.cluster,
            **self.slices,
        }
        if self.champion is not None:
            columns["champion"] = self.champion
        for name, values in columns.items():
            if len(values) != rows:
                raise GateErrored(
                    "The scored holdout is ragged", f"{rows} labels, {len(values)} of {name}", "Score every row once."
                )
