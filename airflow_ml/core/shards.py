"""The shards of a sweep: how many there are, and where the results of each are kept."""

from __future__ import annotations

#: In the place of a shard's number: all shards, as one job of a cluster or queue.
ALL_SHARDS = -1
#: Shards for each task that can run at the same time: enough that one slow shard does not hold up the others.
SHARDS_PER_SLOT = 4
#: Task instances of one sweep, at the very most: far below what Airflow's scheduler and pages can bear.
MAX_SHARDS = 200


def shard_count(units: int, *, slots: int, max_shards: int = MAX_SHARDS) -> int:
    """Return how many shards a sweep gets: no more than units, than four for each task that can run at the same time,
    and than ``max_shards``; at least one.

    Args:
        units: Groups, or the slots where there are fewer groups; without groups, trials.
        slots: Tasks of the sweep that can run at the same time.
    """
    return max(1, min(units, SHARDS_PER_SLOT * max(1, slots), max_shards, MAX_SHARDS))


def shards_ref(sweep: str) -> str:
    """Return the ref that holds how many shards a sweep has, as its first plan fixed it."""
    return f"sweeps/{sweep.partition(':')[2]}/shards"


def shard_ref(sweep: str, shard: int, shards: int) -> str:
    """Return the ref under which a shard's results are committed."""
    return f"sweeps/{sweep.partition(':')[2]}/{shard:04d}-of-{shards:04d}"
