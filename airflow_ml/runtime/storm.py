"""Stops a shard early if nearly all of its first trials fail with the same error."""

from __future__ import annotations

import re
from collections import Counter

from airflow_ml.core.trials import PRUNED, SUCCEEDED, TrialResult

#: So many trials are looked at: a function that fails half of the time by chance is stopped in one of 50,000 sweeps.
STORM_TRIALS = 20
#: The share of them that must fail alike: one may be lucky, or die of something else.
STORM_SHARE = 0.95


class Storm:
    """Looks at the first results of one attempt at a shard. They should come from as many groups as there are: one bad
    group is not a storm."""

    def __init__(self) -> None:
        self._seen = 0
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def is_looking(self) -> bool:
        """Whether further results still count."""
        return self._seen < STORM_TRIALS

    def add(self, result: TrialResult) -> str:
        """Take a result; return why to stop, or nothing."""
        if not self.is_looking():
            return ""
        self._seen += 1
        if result.status not in (SUCCEEDED, PRUNED):
            # Numbers and addresses differ from trial to trial where the error is the same.
            kind = re.sub(r"0x[0-9a-fA-F]+|\d+", "#", result.reason)
            self._reasons[kind] += 1
            self._examples.setdefault(kind, result.reason)
        if self.is_looking() or not self._reasons:
            return ""
        kind, count = self._reasons.most_common(1)[0]
        if count < STORM_SHARE * STORM_TRIALS:
            return ""
        return f"{count} of the first {STORM_TRIALS} trials failed alike: {self._examples[kind]}"
