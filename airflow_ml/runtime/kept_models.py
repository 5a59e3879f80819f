"""The models of a group's best trials, stored as they are fitted.

A worker keeps what is among the best that it has seen itself: that is a little more than the best of all workers, and
never less, without a word between them. The leaderboard names those that are the best of all.
"""

from __future__ import annotations

import heapq
from typing import Any

from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError


class KeptModels:
    """Stores models in a worker.

    Args:
        count: Models to keep of each group; 0 for none.
        direction: ``minimize`` or ``maximize``.
        store: Where they go.
    """

    def __init__(self, count: int, *, direction: str, store: ArtifactStore) -> None:
        self._count, self._store = count, store
        self._sign = -1.0 if direction == MINIMIZE else 1.0
        self._seen: dict[str, list[float]] = {}

    def keep(self, returned: object, *, group: str, trial: str, value: float) -> dict[str, JSON]:
        """Store the model of a success if it is among the best so far; return its artifact in wire form, or nothing.

        Raises:
            ConfigurationError: the function returned no model.
            NoCodec: the model cannot be stored without pickle.
        """
        if not self._count:
            return {}
        model: Any = returned[1] if isinstance(returned, tuple) and len(returned) == 2 else None
        if model is None:
            raise ConfigurationError(
                "keep_top keeps models, the function returned none", type(returned).__name__, "Return (metrics, model)."
            )
        best, good = self._seen.setdefault(group, []), self._sign * value  # larger is better
        if len(best) == self._count and good <= best[0]:
            return {}
        from airflow_ml.runtime.codecs import store_value

        artifact = store_value(model, self._store, name=f"model {group} {trial}")
        (heapq.heappush if len(best) < self._count else heapq.heapreplace)(best, good)
        return artifact.to_dict()
