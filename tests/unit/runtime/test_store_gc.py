"""Garbage is collected, and never anything that a ref leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.store_keeping import Blob
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, ConfigurationError
from airflow_ml.runtime.directory import put_directory
from airflow_ml.runtime.store_gc import GRACE, collect_garbage, reachable


def after(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def put(store: MemoryStore, text: str, format: str = "text") -> Artifact:
    return store.put_bytes(text.encode(), format=format)


def digests(store: MemoryStore) -> set[str]:
    return {blob.digest for blob in store.list_blobs()}


def test_what_is_named_stays_however_old(store: MemoryStore) -> None:
    named, lone = put(store, "named"), put(store, "lone")
    store.append("a", {"x": [{"deep": named.to_dict()}]}, after=0)
    done = collect_garbage(store, now=after(400), dry_run=False)
    assert digests(store) == {named.digest}
    assert [blob.digest for blob in done.trashed] == [lone.digest]
    assert (done.blobs, done.reachable, done.young) == (2, 1, 0)


def test_every_entry_of_a_history_counts(store: MemoryStore) -> None:
    first, second = put(store, "first"), put(store, "second")
    store.append("a", first.to_dict(), after=0)
    store.append("a", second.to_dict(), after=1)
    collect_garbage(store, now=after(400), dry_run=False)
    assert digests(store) == {first.digest, second.digest}


def test_what_a_text_names_stays_wherever_the_digest_stands(store: MemoryStore) -> None:
    deep = put(store, "deep", "parquet")
    lines = put(store, "x" * (1 << 20) + f"\n{deep.digest}\n", "jsonl")
    manifest = put(store, json.dumps({"files": [lines.digest]}), "json")
    store.append("a", {"seen": f"the digest {manifest.digest} in a sentence"}, after=0)
    collect_garbage(store, now=after(400), dry_run=False)
    assert digests(store) == {deep.digest, lines.digest, manifest.digest}


def test_a_digest_across_two_chunks_is_seen(store: MemoryStore) -> None:
    deep = put(store, "deep")
    for cut in (1, 35, 70):
        text = put(store, "x" * ((1 << 20) - cut) + deep.digest + "tail", "text")
        store.append(f"cut{cut}", text.to_dict(), after=0)
    assert deep.digest in reachable(store).digests


def test_a_dry_run_changes_nothing(store: MemoryStore) -> None:
    lone = put(store, "lone")
    done = collect_garbage(store, now=after(400))
    assert [blob.digest for blob in done.trashed] == [lone.digest]
    assert digests(store) == {lone.digest}
    assert list(store.list_trash()) == []


def test_what_is_young_stays(store: MemoryStore) -> None:
    lone = put(store, "lone")
    assert collect_garbage(store, now=after(6.9), dry_run=False).young == 1
    assert digests(store) == {lone.digest}


def test_the_trash_is_emptied_after_another_grace_period(store: MemoryStore) -> None:
    lone = put(store, "lone")
    collect_garbage(store, now=after(8), dry_run=False)
    assert collect_garbage(store, now=after(6), dry_run=False).destroyed == ()
    assert store.get_bytes(lone) == b"lone", "a read brings it back"
    collect_garbage(store, now=after(8), dry_run=False)
    assert len(collect_garbage(store, now=after(8), dry_run=False).destroyed) == 1
    with pytest.raises(ArtifactNotFound):
        store.get_bytes(lone)


def test_what_is_named_while_it_lies_in_the_trash_comes_back(store: MemoryStore) -> None:
    late = put(store, "late", "parquet")  # a text is read to see what it names, which brings it back as well
    collect_garbage(store, now=after(8), dry_run=False)
    store.append("a", late.to_dict(), after=0)
    done = collect_garbage(store, now=after(400), dry_run=False)
    assert [blob.digest for blob in done.restored] == [late.digest]
    assert done.destroyed == ()
    assert digests(store) == {late.digest}


def test_an_entry_written_during_the_collection_saves_its_blob(store: MemoryStore) -> None:
    late = put(store, "late")

    class Racing(MemoryStore):
        def trash(self, digest: str, *, unchanged_since: datetime) -> bool:
            if self.latest("a") is None:
                self.append("a", late.to_dict(), after=0)
            return super().trash(digest, unchanged_since=unchanged_since)

    store.__class__ = Racing
    assert collect_garbage(store, now=after(400), dry_run=False).trashed == ()
    assert digests(store) == {late.digest}


def test_a_damaged_entry_stops_it_before_anything_is_removed(store: MemoryStore) -> None:
    lone = put(store, "lone")
    store.append("a", {"n": 1}, after=0)
    store._entries["a"][0] = store._entries["a"][0].replace(b'{"n":1}', b'{"n":2}')
    with pytest.raises(ArtifactCorrupt):
        collect_garbage(store, now=after(400), dry_run=False)
    assert digests(store) == {lone.digest}


@pytest.mark.parametrize("damage", ["gone", "other bytes"])
def test_a_folder_whose_list_is_lost_keeps_its_files(store: MemoryStore, tmp_path: Path, damage: str) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    folder = put_directory(tmp_path, store)
    store.append("a", folder.to_dict(), after=0)
    listed = store.blobs.pop(folder.digest)
    if damage == "other bytes":
        store.blobs[folder.digest] = b"other bytes"
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt, match="which a leads to"):
            collect_garbage(store, now=after(400), dry_run=False)
    store.blobs[folder.digest] = listed
    assert collect_garbage(store, now=after(400), dry_run=False).trashed == ()
    del store.blobs[folder.digest]
    assert len(collect_garbage(store, now=after(400), dry_run=False, accept_lost=True).trashed) == 1


def test_a_short_grace_is_refused(store: MemoryStore) -> None:
    with pytest.raises(ConfigurationError, match="at least 1:00:00"):
        collect_garbage(store, now=after(0), grace=timedelta(minutes=59))


def test_a_named_blob_that_is_not_there_is_told(store: MemoryStore) -> None:
    named = put(store, "named", "json")
    store.append("a", named.to_dict(), after=0)
    store.blobs.clear()
    assert dict(reachable(store).missing) == {named.digest: "a"}


FORMATS = ["json", "jsonl", "text", "bytes", "file", "python", "new"]


@settings(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.lists(st.integers(0, 11), max_size=3), min_size=1, max_size=12),
    roots=st.sets(st.integers(0, 11), max_size=4),
    formats=st.lists(st.sampled_from(FORMATS), min_size=12, max_size=12),
)
def test_any_graph_keeps_exactly_what_is_reachable(edges: list[list[int]], roots: set[int], formats: list[str]) -> None:
    store, made = MemoryStore(), list[Artifact]()
    for number, targets in enumerate(edges):  # a blob can name earlier ones only: its digest is its content's
        named = [made[target].digest for target in targets if target < number]
        made.append(put(store, json.dumps({"number": number, "named": named}), formats[number]))
    expected, queue = set[int](), [root for root in roots if root < len(made)]
    for position, root in enumerate(list(queue)):
        store.append(f"root{position}", made[root].to_dict(), after=0)
    while queue:
        number = queue.pop()
        if number not in expected:
            expected.add(number)
            queue += [target for target in edges[number] if target < number]
    collect_garbage(store, now=after(2 * GRACE.days), dry_run=False)
    assert digests(store) == {made[number].digest for number in expected}


def test_an_entry_written_during_the_collection_saves_what_lies_in_the_trash(store: MemoryStore) -> None:
    late = put(store, "late")
    collect_garbage(store, now=after(400), dry_run=False)
    assert digests(store) == set()

    class Racing(MemoryStore):
        def list_blobs(self, prefix: str = "") -> Iterator[Blob]:
            if self.latest("a") is None:
                self.append("a", late.to_dict(), after=0)
            return super().list_blobs(prefix)

    store.__class__ = Racing
    assert collect_garbage(store, now=after(800), dry_run=False).destroyed == ()
    assert store.get_bytes(late) == b"late"


def test_a_digest_that_is_a_key_counts(store: MemoryStore) -> None:
    keyed = put(store, "keyed")
    store.append("a", {"scores": {keyed.digest: 0.5}}, after=0)
    collect_garbage(store, now=after(400), dry_run=False)
    assert digests(store) == {keyed.digest}
