"""The refs of a store in a folder: one file for each entry, linked under its number, so that one writer wins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from airflow_ml.adapters.folder_files import FolderFiles, sync
from airflow_ml.adapters.ref_entry import SEQUENCE_DIGITS, check_after, conflict, decode_entry, encode_entry, gap
from airflow_ml.core.artifact import check_ref
from airflow_ml.core.failpoint import fp
from airflow_ml.core.ports import Entry
from airflow_ml.core.record import JSON
from airflow_ml.errors import StoreUnavailable


class FolderRefs(FolderFiles):
    """What `FolderStore` adds to blobs: entries that are appended by compare-and-swap and never change."""

    def append(self, ref: str, value: Mapping[str, JSON], *, after: int) -> Entry:
        """Create entry ``after + 1`` of a ref, durably.

        Raises:
            RefConflict: somebody else created that entry, or entry ``after`` does not exist.
            StoreUnavailable: the folder is gone.
            ConfigurationError: for an entry over 1 MiB.
        """
        folder = self._ref_folder(ref)
        sequence = check_after(after)
        data = encode_entry(ref, sequence, value)
        if after and not (folder / _entry_name(after)).exists():
            raise gap(ref, after)
        self._check_there()
        self._make(folder)
        with self._temporary([data]) as (temporary, _, _):
            fp("store.append.written")
            try:
                os.link(temporary, folder / _entry_name(sequence))
            except FileExistsError:
                # A file server whose answer was lost is asked again, and then finds the link that it made.
                if not (folder / _entry_name(sequence)).samefile(temporary):
                    raise conflict(ref, sequence) from None
            fp("store.append.linked")
        sync(folder)
        return decode_entry(ref, sequence, data)

    def latest(self, ref: str) -> Entry | None:
        """Return the newest entry, or None where the ref does not exist. Lists one folder and reads one file."""
        sequences = self._sequences(f"{self._refs}/{check_ref(ref)}")
        return self._entry(ref, max(sequences)) if sequences else None

    def history(self, ref: str, *, newest_first: bool = False, up_to: int | None = None) -> Iterator[Entry]:
        """Yield all entries, oldest first or newest first; each file is read when its entry is asked for."""
        for sequence in sorted(self._sequences(f"{self._refs}/{check_ref(ref)}"), reverse=newest_first):
            if up_to is None or sequence <= up_to:
                yield self._entry(ref, sequence)

    def refs(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the refs below a prefix (itself included), sorted."""
        start = self._ref_folder(prefix) if prefix else self._root / "refs"
        names = [
            folder[len(self._refs) + 1 :]
            for folder, _, files in os.walk(os.fspath(start))
            if any(_sequence_of(name) is not None for name in files)
        ]
        if not names:
            self._check_there()
        yield from sorted(names)

    @cached_property
    def _refs(self) -> str:
        return os.fspath(self._root / "refs")

    def _ref_folder(self, ref: str) -> Path:
        return self._root / "refs" / check_ref(ref)

    def _sequences(self, folder: str) -> list[int]:
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            self._check_there()
            return []
        return [number for name in names if (number := _sequence_of(name)) is not None]

    def _check_there(self) -> None:
        """Refuse to take a folder that is gone, such as one that is no longer mounted, for an empty store."""
        if not os.path.isdir(self._refs):
            raise StoreUnavailable(
                "The store's folder is gone", os.fspath(self._root), "Mount it again, or see what removed it."
            )

    def _entry(self, ref: str, sequence: int) -> Entry:
        # Plain text and no buffer: whoever looks back over many runs reads thousands of these.
        with open(f"{self._refs}/{check_ref(ref)}/{_entry_name(sequence)}", "rb", buffering=0) as file:
            data = file.readall()
        return decode_entry(ref, sequence, data)


def _entry_name(sequence: int) -> str:
    return f"_{sequence:0{SEQUENCE_DIGITS}d}.json"


def _sequence_of(name: str) -> int | None:
    digits = name.removeprefix("_").removesuffix(".json")
    return int(digits) if name == f"_{digits}.json" and len(digits) == SEQUENCE_DIGITS and digits.isdigit() else None
