"""What a gateway did since its start, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_ml.gateway.scoring import Answers


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    rows: int = 0
    refused_rows: int = 0
    #: Rows that the champion answered in the challenger's place.
    fallbacks: int = 0
    #: Batches that were answered but could not be logged.
    unlogged_batches: int = 0
    #: The last reasons of fallbacks and refusals.
    last_reason: str = field(default="")

    def count(self, answers: Answers) -> None:
        """Add a batch."""
        self.rows += len(answers.scores)
        for index, reason in answers.reasons.items():
            self.last_reason = reason
            if answers.scores[index] is None:
                self.refused_rows += 1
            else:
                self.fallbacks += 1
