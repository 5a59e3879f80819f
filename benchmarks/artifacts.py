"""Speed of the artifact store beside a bare copy and its peers, as JSON.

    python benchmarks/artifacts.py [--size-mb 1024] [--rounds 5] [--peers PYTHON]

Each way puts and gets the same random file, in turn, ``rounds`` times; the median counts, with minimum and maximum. The
bare copy reads, hashes (SHA-256), writes and fsyncs, which is the least that a store that verifies can do. MLflow's
``log_artifact`` and ``download_artifacts`` go to a local folder in the same environment. DVC and Metaflow bring
dependencies that fight with Airflow's, so they run in another environment whose interpreter is named by ``--peers``
(``python -m venv peers && peers/bin/pip install dvc metaflow``); without it they are null.

Files come from the page cache in all ways. Each read back is by a new store object, which verified nothing before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.runtime.directory import get_directory, put_directory

CHUNK = 1 << 20

#: Runs in the peers' environment: ``<script> <tool> <file> <folder>`` prints the seconds of put and get.
PEER = textwrap.dedent(
    """
    import json, os, subprocess, sys, time
    tool, file, folder = sys.argv[1:]
    os.chdir(folder)
    if tool == "dvc":
        from dvc.repo import Repo
        repo = Repo.init(folder, no_scm=True)
        os.link(file, "data")
        began = time.perf_counter()
        repo.add("data")
        put = time.perf_counter() - began
        os.unlink("data")
        began = time.perf_counter()
        repo.checkout()
        get = time.perf_counter() - began
    else:
        from metaflow.datastore import FlowDataStore
        from metaflow.plugins.datastores.local_storage import LocalStorage
        from metaflow.metaflow_environment import MetaflowEnvironment
        LocalStorage.datastore_root = folder
        store = FlowDataStore("bench", MetaflowEnvironment(None), storage_impl=LocalStorage)
        data = open(file, "rb").read()
        began = time.perf_counter()
        (_, key), = store.save_data([data])
        put = time.perf_counter() - began
        began = time.perf_counter()
        (_, found), = store.load_data([key])
        get = time.perf_counter() - began
        assert found == data
    print(json.dumps({"put": put, "get": get}))
    """
)


def copy(source: Path, target: Path) -> None:
    """Copy, hash and sync: the least work."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Ways:
    """One round of all ways over one file."""

    def __init__(self, file: Path, folder: Path, peers: str | None) -> None:
        self._file, self._folder, self._peers = file, folder, peers

    def bare(self) -> dict[str, float]:
        """A copy there and back."""
        there, back = self._folder / "there", self._folder / "back"
        seconds = {"put": timed(lambda: copy(self._file, there)), "get": timed(lambda: copy(there, back))}
        there.unlink()
        back.unlink()
        return seconds

    def store(self) -> dict[str, float]:
        """Our store: a first put, the same content again, a verified file to read in place (get), and a copy of it."""
        root, back = self._folder / "store", self._folder / "back"
        put: list[Artifact] = []
        first = timed(lambda: put.append(FolderStore(root).put_file(self._file, format="bytes")))
        written = _blocks(root)
        again = timed(lambda: FolderStore(root).put_file(self._file, format="bytes"))
        if _blocks(root) != written:
            raise RuntimeError("The second put wrote bytes.")
        verified = timed(lambda: FolderStore(root).path(put[0]))
        out = timed(lambda: copy(FolderStore(root).path(put[0]), back))
        back.unlink()
        shutil.rmtree(root)
        return {"put": first, "put_again": again, "get": verified, "get_and_copy": out}

    def mlflow(self) -> dict[str, float]:
        """MLflow's artifact repository of a local folder."""
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

        root, back = self._folder / "mlflow", self._folder / "mlflow-back"
        repository = LocalArtifactRepository(str(root))
        put = timed(lambda: repository.log_artifact(str(self._file)))
        back.mkdir()
        get = timed(lambda: repository.download_artifacts(self._file.name, str(back)))
        shutil.rmtree(root)
        shutil.rmtree(back)
        return {"put": put, "get": get}

    def peer(self, tool: str) -> dict[str, float] | None:
        """DVC or Metaflow, in their own environment."""
        if self._peers is None:
            return None
        root = self._folder / tool
        root.mkdir()
        done = subprocess.run(
            [self._peers, "-c", PEER, tool, str(self._file), str(root)], capture_output=True, text=True, check=True
        )
        shutil.rmtree(root)
        seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return seconds


def _blocks(root: Path) -> int:
    return sum(path.stat().st_blocks for path in root.rglob("*") if path.is_file())


def spread(values: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def resident_mb(file: Path, folder: Path) -> float:
    """Return the peak memory of a process that puts a file and reads it back."""
    code = (
        "import sys; from pathlib import Path\n"
        "from airflow_ml.adapters.folder_store import FolderStore\n"
        "store = FolderStore(Path(sys.argv[2]))\n"
        "FolderStore(Path(sys.argv[2])).path(store.put_file(Path(sys.argv[1]), format='bytes'))\n"
        # Not getrusage: its peak is inherited from the process that started this one.
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), str(folder / "memory")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    shutil.rmtree(folder / "memory")
    return round(float(done.stdout), 1)


def directories(folder: Path, files: int) -> dict[str, float]:
    """Return the seconds to put and get a folder of small files, and to put it again."""
    source, store = folder / "many", FolderStore(folder / "many-store")
    for number in range(files):
        path = source / str(number // 100) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000))
    made: list[Artifact] = []
    put = timed(lambda: made.append(put_directory(source, store)))
    again = timed(lambda: put_directory(source, store))
    get = timed(lambda: get_directory(made[0], FolderStore(folder / "many-store"), into=folder / "many-back"))
    return {"files": files, "put": round(put, 3), "put_again": round(again, 3), "get": round(get, 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mb", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--peers", default=None, help="interpreter of an environment with dvc and metaflow")
    options = parser.parse_args()
    began_load = os.getloadavg()[0]
    seconds: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="airflow-ml-bench-") as temporary:
        folder = Path(temporary)
        file = folder / "file"
        with file.open("wb") as target:
            for _ in range(options.size_mb):
                target.write(os.urandom(1 << 20))
        ways = Ways(file, folder, options.peers)
        for _ in range(options.rounds):
            for name, run in (
                ("bare_copy", ways.bare),
                ("airflow_ml", ways.store),
                ("mlflow", ways.mlflow),
                ("dvc", lambda: ways.peer("dvc")),
                ("metaflow", lambda: ways.peer("metaflow")),
            ):
                for what, took in (run() or {}).items():
                    seconds.setdefault(name, {}).setdefault(what, []).append(took)
        memory = resident_mb(file, folder)
        many = directories(folder, options.files)
    medians = {name: {what: statistics.median(took) for what, took in all_.items()} for name, all_ in seconds.items()}
    bare, ours = medians["bare_copy"], medians["airflow_ml"]
    print(
        json.dumps(
            {
                "size_mb": options.size_mb,
                "rounds": options.rounds,
                "load_before_and_after": [round(began_load, 2), round(os.getloadavg()[0], 2)],
                "seconds": {name: {w: spread(t) for w, t in all_.items()} for name, all_ in seconds.items()},
                "dvc": None if "dvc" not in seconds else "measured",
                "metaflow": None if "metaflow" not in seconds else "measured",
                "put_share_of_bare_copy_speed": round(bare["put"] / ours["put"], 3),
                "get_share_of_bare_copy_speed": round(bare["get"] / ours["get"], 3),
                "resident_mb": memory,
                "directory_seconds": many,
                "cpus": os.cpu_count(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
