"""The check of a store finds what is damaged, missing or lost, and goes on where it stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.runtime.directory import inner_artifacts, put_directory
from airflow_ml.runtime.store_check import CHECK_REF, SLICES, Check, check_store

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A minute passes at every look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    for number in range(60):
        artifact = store.put_bytes(b"content %d" % number, format="bytes")
        store.append("all", artifact.to_dict(), after=number)
    return store


def artifacts(store: MemoryStore) -> list[Artifact]:
    return [Artifact.from_dict(entry.value) for entry in store.history("all")]


def kinds(seen: Check) -> list[str]:
    return sorted(finding.kind for finding in seen.findings)


def test_a_sound_store(store: MemoryStore) -> None:
    seen = check_store(store, now=Clock())
    assert seen.findings == ()
    assert (seen.refs, seen.entries, seen.blobs, seen.slices) == (1, 60, 60, 256)
    assert seen.size_bytes == sum(len(data) for data in store.blobs.values())
    assert seen.oldest_check_at == "2026-01-01T00:01:00Z"


def test_what_is_damaged_is_named_with_its_refs_and_set_aside(store: MemoryStore) -> None:
    victim = artifacts(store)[7]
    store.blobs[victim.digest] = b"rotten"
    (finding,) = check_store(store, now=Clock()).findings
    assert (finding.kind, finding.what, finding.refs) == ("corrupt", victim.digest, ("all",))
    assert kinds(check_store(store, now=Clock())) == ["missing"], "it was set aside"


def test_what_is_missing_is_found_without_reading_its_slice(store: MemoryStore) -> None:
    victim = artifacts(store)[7]
    del store.blobs[victim.digest]
    (finding,) = check_store(store, now=Clock(), slices=1).findings
    assert (finding.kind, finding.what, finding.refs) == ("missing", victim.digest, ("all",))


def test_what_lies_in_the_trash_and_is_named_comes_back(store: MemoryStore) -> None:
    victim = artifacts(store)[7]
    store.trash(victim.digest, unchanged_since=datetime.now(UTC) + timedelta(days=1))
    assert check_store(store, now=Clock()).findings == ()
    assert list(store.list_trash()) == []


@pytest.mark.parametrize("position", [0, 30, 59])
def test_a_damaged_entry_hides_no_other(store: MemoryStore, position: int) -> None:
    entries = store._entries["all"]
    entries[position] = entries[position].replace(b"bytes", b"bytez")
    victim = next(iter(artifacts_of_others(store, position)))
    del store.blobs[victim]
    seen = check_store(store, now=Clock())
    assert kinds(seen) == ["corrupt", "missing"]
    assert seen.entries == 59
    assert any(f"Entry {position + 1} of ref 'all' is damaged" in finding.what for finding in seen.findings)


def artifacts_of_others(store: MemoryStore, position: int) -> list[str]:
    digests = list(store.blobs)
    return digests[:position] + digests[position + 1 :]


def test_slices_take_turns(store: MemoryStore) -> None:
    clock = Clock()
    blobs = [check_store(store, now=clock, slices=64).blobs for _ in range(4)]
    assert sum(blobs) == 60, "each slice once"
    again = check_store(store, now=clock, slices=64)
    assert again.blobs == blobs[0], "the oldest first"
    assert again.oldest_check_at is not None
    newest = store.latest(CHECK_REF)
    assert newest is not None
    assert newest.sequence == 5


def test_a_part_says_that_the_rest_was_never_read(store: MemoryStore) -> None:
    assert check_store(store, now=Clock(), slices=255).oldest_check_at is None


def test_it_stops_in_time_and_reads_one_slice_at_least(store: MemoryStore) -> None:
    assert check_store(store, now=Clock(), until=START).slices == 1
    assert 1 < check_store(store, now=Clock(), until=START + timedelta(minutes=50)).slices < len(SLICES)


def _folder(store: MemoryStore, tmp_path: Path) -> tuple[Artifact, list[Artifact]]:
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "two.txt").write_text("two")
    folder = put_directory(tmp_path, store)
    store.append("model", folder.to_dict(), after=0)
    return folder, inner_artifacts(folder, store)


def test_a_file_that_is_missing_of_a_folder_is_found(store: MemoryStore, tmp_path: Path) -> None:
    _, (one, _) = _folder(store, tmp_path)
    del store.blobs[one.digest]
    (finding,) = check_store(store, now=Clock()).findings
    assert (finding.kind, finding.what, finding.refs) == ("missing", one.digest, ("model",))


def test_an_altered_file_of_a_folder_is_named_with_the_folders_refs(store: MemoryStore, tmp_path: Path) -> None:
    _, (one, two) = _folder(store, tmp_path)
    store.blobs[one.digest] = store.blobs[two.digest] = b"rotten"
    findings = check_store(store, now=Clock()).findings
    assert {(item.kind, item.what, item.refs) for item in findings} == {
        ("corrupt", one.digest, ("model",)),
        ("corrupt", two.digest, ("model",)),
    }


def test_what_a_text_names_in_turn_is_looked_for(store: MemoryStore, tmp_path: Path) -> None:
    folder, (one, _) = _folder(store, tmp_path)
    text = store.put_bytes(canonical_json({"members": [folder.to_dict()]}), format="json")
    other = MemoryStore()
    for artifact in (text, folder):
        other.put_bytes(store.get_bytes(artifact), format=artifact.format)
    other.append("models", {"manifest": text.to_dict()}, after=0)
    seen = check_store(other, now=Clock())
    assert {(item.kind, item.refs) for item in seen.findings} == {("missing", ("models",))}
    assert one.digest in {item.what for item in seen.findings}
