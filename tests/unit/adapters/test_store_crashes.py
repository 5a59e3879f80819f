"""A store whose writer was killed at any place: no half of a blob, no entry without its blob, and life goes on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import ArtifactCorrupt
from airflow_ml.testing.contracts.artifact_store import damage

FAILPOINTS = [
    "store.put.written",
    "store.put.linked",
    "store.append.written",
    "store.append.linked",
    "store.trash.moved",
    "store.restore.linked",
    "gc.trashed",
    "gc.destroyed",
]

_RACERS = """
import json, os, sys
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import RefConflict
from pathlib import Path
root, racers, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
start, go = os.pipe()
children = []
for number in range(racers):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(start, 1)
        store, won = FolderStore(root), []
        for after in range(rounds):
            try:
                won.append(store.append("race", {"by": number}, after=after).sequence)
            except RefConflict:
                pass
        (root / f"won{number}").write_text(json.dumps(won))
        os._exit(0)
    children.append(child)
os.close(go)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


def crash(folder: Path, name: str, first: int, seeds: int) -> int:
    worker = Path(__file__).with_name("store_crash_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker), str(folder), name, str(first), str(seeds)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["wrong"] == []
    return int(seen["killed"])


@pytest.mark.parametrize("name", FAILPOINTS)
def test_a_writer_is_killed(tmp_path: Path, name: str) -> None:
    assert crash(tmp_path, name, 0, 3) > 0


@pytest.mark.long
@pytest.mark.parametrize("name", FAILPOINTS)
def test_fifty_writers_are_killed_at_each_failpoint(tmp_path: Path, name: str) -> None:
    assert crash(tmp_path, name, 1000, 50) > 10


def corrupted(store: FolderStore, count: int, seed: int) -> int:
    """Damage blobs again and again, and return how often a read gave something back."""
    chance, undetected = random.Random(seed), 0
    contents = [chance.randbytes(chance.randrange(1, 3000)) for _ in range(20)]
    artifacts = [store.put_bytes(data, format="bytes") for data in contents]
    kinds = ["flip", "truncate", "append", "zero", "swap"]
    for number in range(count):
        artifact, data = artifacts[number % 20], contents[number % 20]
        blob = store._blob(artifact.digest)
        blob.unlink(missing_ok=True)
        wrong = damage(kinds[number // 20 % 5], data, chance)
        blob.write_bytes(wrong if wrong != data else data + b"!")
        try:
            store.get_bytes(artifact) if number % 2 else store.path(artifact)
        except ArtifactCorrupt:
            continue
        undetected += 1
    return undetected


def test_no_corruption_is_undetected(tmp_path: Path) -> None:
    assert corrupted(FolderStore(tmp_path / "store"), 1000, seed=1) == 0


@pytest.mark.long
def test_of_ten_thousand_corruptions_none_is_undetected(tmp_path: Path) -> None:
    assert corrupted(FolderStore(tmp_path / "store"), 10_000, seed=2) == 0


def test_of_32_processes_one_wins_each_entry(tmp_path: Path) -> None:
    root, racers, rounds = tmp_path / "store", 32, 10
    store = FolderStore(root)
    done = subprocess.run(
        [sys.executable, "-c", _RACERS, str(root), str(racers), str(rounds)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    won = {number: json.loads((root / f"won{number}").read_text()) for number in range(racers)}
    assert sorted(sequence for sequences in won.values() for sequence in sequences) == list(range(1, rounds + 1))
    for entry in store.history("race"):
        assert entry.sequence in won[int(str(entry.value["by"]))]


def test_a_large_file_is_written_once_and_streamed(tmp_path: Path) -> None:
    store, file = FolderStore(tmp_path / "store"), tmp_path / "large"
    file.write_bytes(random.Random(3).randbytes(9 << 20))
    first = store.put_file(file, format="bytes")
    blob = store._blob(first.digest)
    written = blob.stat()
    assert store.put_file(file, format="bytes") == first
    assert (blob.stat().st_ino, blob.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    twin = tmp_path / "twin"
    twin.write_bytes(b"!" + file.read_bytes()[1:])
    other = store.put_file(twin, format="bytes")
    assert store.get_bytes(Artifact.from_dict(other.to_dict()))[:1] == b"!"
    assert other.digest != first.digest
