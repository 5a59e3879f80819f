"""What one trial committed: found by an index of its shard, which is read on and never read again."""

from __future__ import annotations

import json
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any

from airflow_ml.core.ports import ArtifactStore, Entry
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import TrialResult
from airflow_ml.plugin.views.lru import Lru

#: Shards that one process remembers, and how much of each, packed: the entries beyond it are read again when one of
#: their trials is asked for. Ten thousand trials take some 2 MB.
_SHARDS = 8
_PACKED_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _Shard:
    """The trials of one shard."""

    #: Entry in which each trial was committed first.
    entries: dict[str, int] = field(default_factory=dict)
    #: The trials of an entry, as compressed JSON.
    packed: dict[int, bytes] = field(default_factory=dict)
    packed_bytes: int = 0
    sequence: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class TrialIndex:
    """Finds what a trial committed, with its reports and traceback, which no table has."""

    def __init__(self) -> None:
        self._shards: Lru[_Shard] = Lru(_SHARDS)

    def find(self, store: ArtifactStore, sweep: str, shard: int, shards: int, trial: str) -> TrialResult | None:
        """Return a trial's own result, the first of two commits; None where it has committed none.

        Args:
            store: Where the shards commit.
            sweep: Its identity.
            shard: The trial's.
            shards: All of the sweep.
            trial: Its name.
        """
        ref = shard_ref(sweep, shard, shards)
        known = self._shards.get((store.uri, ref), _Shard)
        with known.lock:
            if trial not in known.entries:
                _read_on(store, ref, known)
            sequence = known.entries.get(trial)
            if sequence is None:
                return None
            packed = known.packed.get(sequence)
        rows = json.loads(zlib.decompress(packed)) if packed is not None else _rows(_entry(store, ref, sequence))
        return next((TrialResult.from_dict(row) for row in rows if row.get("trial") == trial), None)


def _read_on(store: ArtifactStore, ref: str, known: _Shard) -> None:
    """Read the entries that came since the last time, and take them oldest first."""
    new = []
    for entry in store.history(ref, newest_first=True):
        if entry.sequence <= known.sequence:
            break
        rows = _rows(entry)
        packed = zlib.compress(json.dumps(rows).encode(), level=1)
        new.append((entry.sequence, [str(row.get("trial")) for row in rows], packed))
    for sequence, names, packed in reversed(new):
        for name in names:
            known.entries.setdefault(name, sequence)
        if known.packed_bytes + len(packed) <= _PACKED_BYTES:
            known.packed[sequence] = packed
            known.packed_bytes += len(packed)
        known.sequence = sequence


def _rows(entry: Entry | None) -> list[dict[str, Any]]:
    trials = entry.value.get("trials") if entry is not None else None
    return [row for row in trials if isinstance(row, dict)] if isinstance(trials, list) else []


def _entry(store: ArtifactStore, ref: str, sequence: int) -> Entry | None:
    return next((entry for entry in store.history(ref) if entry.sequence == sequence), None)
