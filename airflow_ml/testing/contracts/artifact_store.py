"""What every ``core.ports.ArtifactStore`` must do: subclass ``ArtifactStoreContract`` and override its fixtures."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.core.fingerprint import digest_bytes
from airflow_ml.core.ports import ArtifactStore, Entry
from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, ConfigurationError, InvalidKey, RefConflict

#: Replaces the stored bytes of a blob behind the store's back.
Tamper = Callable[[Artifact, bytes], None]

BAD_NAMES = [
    *("", "/", "a/", "/a", "a//b", "..", "../a", "a/../b", "a/./b", ".a", "a.", "a/b.", "_a", "a\\b", "a\x00b", "a b"),
    *("%2e%2e", "a\n", "é", "a\u202eb", "x" * 129, "/".join("a" * 9), "a:b", "~", "-a", "a*", "con."),
]

#: A process that tries to write every entry of a ref and prints the sequences it won.
_RACER = """
import sys
from airflow_ml.adapters.object_store import open_store
from airflow_ml.errors import RefConflict
store, name, rounds = open_store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
for after in range(rounds):
    try:
        print(store.append("race", {"by": name}, after=after).sequence)
    except RefConflict:
        pass
"""


def damage(kind: str, data: bytes, chance: random.Random) -> bytes:
    """Return bytes that differ from ``data`` in one of five ways."""
    position = chance.randrange(len(data))
    match kind:
        case "flip":
            return data[:position] + bytes([data[position] ^ (1 << chance.randrange(8))]) + data[position + 1 :]
        case "truncate":
            return data[:position]
        case "append":
            return data + bytes([chance.randrange(256)])
        case "zero":
            return bytes(len(data))
        case _:
            return b"another blob's content, whole and sound"


class ArtifactStoreContract:
    """The tests. ``racer_uri`` is None for a store that one process holds alone."""

    @pytest.fixture
    def store(self) -> ArtifactStore:
        """An empty store."""
        raise NotImplementedError

    @pytest.fixture
    def tamper(self) -> Tamper:
        """Damages a blob where the store keeps it."""
        raise NotImplementedError

    @pytest.fixture
    def racer_uri(self) -> str | None:
        """The address at which another process opens the same store."""
        raise NotImplementedError

    @pytest.mark.parametrize("data", [b"", b"x", b"\x00\xff" * 700_000], ids=["empty", "one byte", "1.4 MB"])
    def test_what_was_put_comes_back_as_bytes_and_as_a_file(self, store: ArtifactStore, data: bytes) -> None:
        artifact = store.put_bytes(data, format="bytes")
        assert artifact.digest == digest_bytes(data)
        assert artifact.size_bytes == len(data)
        assert store.get_bytes(artifact) == data
        assert store.path(artifact).read_bytes() == data

    def test_a_file_and_its_bytes_are_one_artifact(self, store: ArtifactStore, tmp_path: Path) -> None:
        file = tmp_path / "rows"
        file.write_bytes(b"rows" * 1000)
        facts = {"format": "parquet", "rows": 3, "columns": [Column(name="a", dtype="int64")], "metadata": {"k": "v"}}
        first = store.put_file(file, **facts)  # type: ignore[arg-type]
        assert first == store.put_bytes(file.read_bytes(), **facts)  # type: ignore[arg-type]
        assert first == store.put_file(file, **facts)  # type: ignore[arg-type]
        assert (first.rows, first.columns, first.metadata) == (3, (Column(name="a", dtype="int64"),), {"k": "v"})
        assert file.read_bytes() == b"rows" * 1000

    def test_a_local_file_is_read_only_for_its_readers(self, store: ArtifactStore) -> None:
        assert store.path(store.put_bytes(b"data", format="bytes")).stat().st_mode & 0o222 == 0

    def test_an_absent_blob_is_not_found_and_not_corrupt(self, store: ArtifactStore) -> None:
        absent = Artifact(digest=digest_bytes(b"never put"), format="bytes", size_bytes=9, uri="")
        for read in (store.path, store.get_bytes):
            with pytest.raises(ArtifactNotFound, match=absent.digest):
                read(absent)

    @pytest.mark.parametrize("digest", ["", "sha256:../../etc/passwd", "md5:" + "0" * 32, "sha256:" + "A" * 64])
    def test_a_digest_that_is_none_is_refused(self, store: ArtifactStore, digest: str) -> None:
        with pytest.raises(InvalidKey):
            store.path(Artifact(digest=digest, format="bytes", size_bytes=0, uri=""))

    @pytest.mark.parametrize("kind", ["flip", "truncate", "append", "zero", "swap"])
    def test_no_wrong_byte_is_ever_returned(self, store: ArtifactStore, tamper: Tamper, kind: str) -> None:
        for seed in range(8):
            chance = random.Random(f"{kind} {seed}")
            data = chance.randbytes(chance.randrange(1, 5000))
            artifact = store.put_bytes(data, format="bytes")
            tamper(artifact, damage(kind, data, chance))
            with pytest.raises(ArtifactCorrupt, match=artifact.digest):
                store.get_bytes(artifact) if seed % 2 else store.path(artifact)
            with pytest.raises(ArtifactNotFound):  # set aside
                store.path(artifact)

    def test_putting_it_again_heals_a_rotten_blob(self, store: ArtifactStore, tamper: Tamper) -> None:
        artifact = store.put_bytes(b"the content", format="bytes")
        tamper(artifact, b"the c0ntent")
        assert store.put_bytes(b"the content", format="bytes") == artifact
        assert store.get_bytes(artifact) == b"the content"

    def test_damage_after_a_first_read_is_seen(self, store: ArtifactStore, tamper: Tamper) -> None:
        artifact = store.put_bytes(b"the content", format="bytes")
        assert store.path(artifact).read_bytes() == b"the content"
        tamper(artifact, b"another one")
        # A verified local copy may still serve; the damaged bytes may not.
        with contextlib.suppress(ArtifactCorrupt):
            assert store.get_bytes(artifact) == b"the content"

    def test_many_writers_of_one_content_leave_one_sound_blob(self, store: ArtifactStore) -> None:
        data = b"same" * 50_000
        with ThreadPoolExecutor(6) as pool:
            artifacts = set(pool.map(lambda _: store.put_bytes(data, format="bytes").digest, range(12)))
        assert artifacts == {digest_bytes(data)}
        assert store.get_bytes(store.put_bytes(data, format="bytes")) == data

    def test_a_ref_is_a_history_without_gaps(self, store: ArtifactStore) -> None:
        assert store.latest("a/b") is None
        assert list(store.history("a/b")) == []
        for number in range(12):
            entry = store.append("a/b", {"number": number, "text": "é", "none": None, "list": [1.5, {}]}, after=number)
            assert entry == store.latest("a/b")
        entries = list(store.history("a/b"))
        assert [entry.sequence for entry in entries] == list(range(1, 13))
        assert [entry.value["number"] for entry in entries] == list(range(12))
        assert list(store.history("a/b", newest_first=True)) == entries[::-1]
        assert next(store.history("a/b", newest_first=True)) == store.latest("a/b")
        assert list(store.history("a/b", up_to=10)) == entries[:10]
        assert list(store.history("a/b", newest_first=True, up_to=3)) == entries[2::-1]
        assert list(store.history("a/b", up_to=0)) == []
        assert entries[3] == Entry(
            ref="a/b", sequence=4, value={"number": 3, "text": "é", "none": None, "list": [1.5, {}]}
        )

    def test_an_empty_value_is_an_entry(self, store: ArtifactStore) -> None:
        store.append("empty", {}, after=0)
        assert store.latest("empty") == Entry(ref="empty", sequence=1, value={})

    @pytest.mark.parametrize("after", [0, 1, 3, 10**6])
    def test_an_entry_is_written_once_and_in_order(self, store: ArtifactStore, after: int) -> None:
        store.append("r", {"n": 1}, after=0)
        store.append("r", {"n": 2}, after=1)
        with pytest.raises(RefConflict, match="'r'"):
            store.append("r", {"n": 9}, after=after)
        assert [entry.value["n"] for entry in store.history("r")] == [1, 2]

    def test_the_first_entry_of_no_ref_cannot_be_the_third(self, store: ArtifactStore) -> None:
        with pytest.raises(RefConflict):
            store.append("r", {}, after=2)
        assert list(store.refs()) == []

    @pytest.mark.parametrize("after", [-1, True, None, "0", 1.0])
    def test_a_sequence_that_is_none_is_refused(self, store: ArtifactStore, after: object) -> None:
        with pytest.raises(ConfigurationError):
            store.append("r", {}, after=after)  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", [{"x": float("nan")}, {"x": object()}, {"x": b"bytes"}, {"x": "y" * 1_100_000}])
    def test_a_value_that_is_no_small_json_is_refused_and_nothing_is_written(
        self, store: ArtifactStore, value: dict[str, object]
    ) -> None:
        with pytest.raises((ValueError, TypeError)):
            store.append("r", value, after=0)  # type: ignore[arg-type]
        assert store.latest("r") is None

    def test_refs_are_listed_below_whole_segments(self, store: ArtifactStore) -> None:
        for name in ("a/b", "a/b/c", "a/bc", "a", "z", "a/00000000000000000001.json"):
            store.append(name, {}, after=0)
        assert list(store.refs()) == ["a", "a/00000000000000000001.json", "a/b", "a/b/c", "a/bc", "z"]
        assert list(store.refs("a/b")) == ["a/b", "a/b/c"]
        assert list(store.refs("a")) == ["a", "a/00000000000000000001.json", "a/b", "a/b/c", "a/bc"]
        assert list(store.refs("nothing")) == []
        assert [entry.sequence for entry in store.history("a")] == [1]

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_names_outside_the_grammar_are_refused(self, store: ArtifactStore, name: str) -> None:
        _refused_everywhere(store, name)

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(st.one_of(st.text(max_size=20), st.text(alphabet="aZ0._=@+-/\\%\x00 ", max_size=12)))
    @example("a/../../etc/passwd")
    def test_any_text_is_a_name_that_works_or_is_refused(self, store: ArtifactStore, name: str) -> None:
        try:
            latest = store.latest(name)
        except InvalidKey:
            _refused_everywhere(store, name)
            return
        after = latest.sequence if latest else 0
        assert store.append(name, {"name": name}, after=after) == store.latest(name)
        assert name in set(store.refs())

    def test_of_racing_threads_one_wins_each_entry(self, store: ArtifactStore) -> None:
        threads, rounds = 6, 10
        start = threading.Barrier(threads)

        def race(number: int) -> list[int]:
            won = []
            for after in range(rounds):
                start.wait(timeout=60)
                with contextlib.suppress(RefConflict):
                    won.append(store.append("race", {"by": number}, after=after).sequence)
                start.wait(timeout=60)
            return won

        with ThreadPoolExecutor(threads) as pool:
            won = dict(enumerate(pool.map(race, range(threads))))
        assert sorted(sequence for sequences in won.values() for sequence in sequences) == list(range(1, rounds + 1))
        for entry in store.history("race"):
            assert entry.sequence in won[int(str(entry.value["by"]))]

    def test_of_racing_processes_one_wins_each_entry(self, store: ArtifactStore, racer_uri: str | None) -> None:
        if racer_uri is None:
            pytest.skip("this store lives in one process")
        rounds = 15
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", _RACER, racer_uri, f"racer{number}", str(rounds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[3],
            )
            for number in range(3)
        ]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = {f"racer{number}": racer.communicate(timeout=120)[0].split() for number, racer in enumerate(racers)}
        assert [racer.returncode for racer in racers] == [0, 0, 0]
        assert sorted(int(sequence) for sequences in won.values() for sequence in sequences) == list(
            range(1, rounds + 1)
        )
        for entry in store.history("race"):
            assert str(entry.sequence) in won[str(entry.value["by"])]


def _refused_everywhere(store: ArtifactStore, name: str) -> None:
    before = list(store.refs())
    with pytest.raises(InvalidKey):
        store.append(name, {}, after=0)
    with pytest.raises(InvalidKey):
        store.latest(name)
    with pytest.raises(InvalidKey):
        list(store.history(name))
    if name:
        with pytest.raises(InvalidKey):
            list(store.refs(name))
    assert list(store.refs()) == before
