"""The verbs ``fsck`` and ``gc``: look after the artifact store."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place


def fsck(options: argparse.Namespace) -> int:
    """Check the store; print what is wrong and return 1 if anything is."""
    from airflow_ml.runtime.store_check import SLICES, check_store

    until = None if options.minutes is None else datetime.now(UTC) + timedelta(minutes=options.minutes)
    seen = check_store(
        open_place(options), now=lambda: datetime.now(UTC), slices=options.slices or len(SLICES), until=until
    )
    if options.output == "json" or seen.findings:
        print_rows(
            options, [{"finding": one.kind, "what": one.what, "named by": ", ".join(one.refs)} for one in seen.findings]
        )
    if options.output == "table":
        blobs = f"{seen.blobs} blobs ({_size(seen.size_bytes)}) in {seen.slices} of {len(SLICES)} slices"
        print(f"{seen.refs} refs with {seen.entries} entries, {blobs}: {len(seen.findings) or 'nothing'} wrong.")
        if seen.oldest_check_at is None:
            print("Some slices were never read: run it again for them.")
        else:
            print(f"All blobs were read since {seen.oldest_check_at}.")
    return 1 if seen.findings else 0


def gc(options: argparse.Namespace) -> int:
    """Print what nobody reaches any more, and with ``--yes`` put it into the trash."""
    from airflow_ml.runtime.store_gc import collect_garbage

    done = collect_garbage(
        open_place(options),
        now=datetime.now(UTC),
        grace=timedelta(days=options.grace_days),
        dry_run=not options.yes,
        accept_lost=options.accept_lost,
    )
    groups = {"trash": done.trashed, "bring back": done.restored, "destroy": done.destroyed}
    rows = [
        {"do": what, "digest": blob.digest, "size_bytes": blob.size_bytes}
        for what, them in groups.items()
        for blob in them
    ]
    if options.output == "json" or rows:
        print_rows(options, rows)
    if options.output == "table":
        print(f"{done.blobs} blobs ({_size(done.size_bytes)}), {done.reachable} of them named by the store's refs.")
        print(f"{done.young} more are younger than {options.grace_days:g} days and stay.")
        for what, them in groups.items():
            print(f"{what}: {len(them)} ({_size(sum(blob.size_bytes for blob in them))})")
        if done.dry_run:
            print("Nothing was done. Give --yes to do it.")
    return 0


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"
