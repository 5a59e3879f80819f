"""Checkpoints outlive the process: a training that is killed twice ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import function_of

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core import far_side
from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.job import JobRequest
from airflow_ml.core.record import parse_as
from airflow_ml.runtime.call import CallJob, call_ref
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.checkpoint import Checkpoint
from airflow_ml.runtime.trial import Trial
from airflow_ml.runtime.work import store_work
from airflow_ml.runtime.zipapp import store_runtime

TEXT = """
def train(epochs, log, pause=0.0):
    # Logistic regression by gradient descent, kept after each epoch.
    import os, time
    import numpy as np
    from airflow_ml.runtime.context import current

    folder = current().checkpoint
    generator = np.random.default_rng(1)
    x = generator.normal(size=(200, 3))
    y = (x @ np.array([1.0, -2.0, 0.5]) > 0).astype(float)
    weights, first = np.zeros(3), 0
    if (folder / "state.npz").exists():
        state = np.load(folder / "state.npz")
        weights, first = state["weights"], int(state["epoch"])
    for epoch in range(first, epochs):
        for row, label in zip(x, y):
            weights = weights + 0.1 * (label - 1 / (1 + np.exp(-row @ weights))) * row
        with open(folder / "state.tmp", "wb") as file:
            np.savez(file, weights=weights, epoch=epoch + 1)
        os.replace(folder / "state.tmp", folder / "state.npz")
        with open(log, "a") as file:
            file.write(f"{epoch}\\n")
        time.sleep(pause)
    return [first, weights.tolist()]
"""

#: A small network with momentum in its optimizer: what is not in the checkpoint changes the end.
TORCH_TEXT = """
def train(epochs, log, pause=0.0):
    import os, time
    import torch
    from airflow_ml.runtime.context import current

    folder = current().checkpoint
    torch.set_num_threads(1)
    torch.manual_seed(7)
    x = torch.randn(256, 8)
    y = torch.sin(x.sum(1, keepdim=True))
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))
    optimizer, first = torch.optim.Adam(model.parameters(), lr=0.01), 0
    if (folder / "state.pt").exists():
        state = torch.load(folder / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        first = state["epoch"]
    for epoch in range(first, epochs):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                 "random": torch.get_rng_state(), "epoch": epoch + 1}
        torch.save(state, folder / "state.tmp")
        os.replace(folder / "state.tmp", folder / "state.pt")
        with open(log, "a") as file:
            file.write(f"{epoch}\\n")
        time.sleep(pause)
    return [first, [value.item() for tensor in model.state_dict().values() for value in tensor.flatten()]]
"""


def settled(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    old = time.time() - 10
    os.utime(folder / name, (old, old))


def test_the_next_try_finds_what_the_last_one_left(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first = Checkpoint(lambda: store, "checkpoints/a", every_seconds=3600)
    assert list(first.folder.iterdir()) == []
    settled(first.folder, "model/weights.bin", "one")
    settled(first.folder, "half.tmp", "no")
    assert first.keep()
    settled(first.folder, "model/weights.bin", "two")
    first.close(succeeded=False)
    second = Checkpoint(lambda: store, "checkpoints/a", every_seconds=3600)
    assert [file.relative_to(second.folder).as_posix() for file in second.folder.rglob("*") if file.is_file()] == [
        "model/weights.bin"
    ]
    assert (second.folder / "model" / "weights.bin").read_text() == "two"
    second.close(succeeded=True)
    third = Checkpoint(lambda: store, "checkpoints/a", every_seconds=3600)
    assert list(third.folder.iterdir()) == []  # after a success the same call begins anew
    third.close(succeeded=True)


def test_what_is_being_written_does_not_count(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    checkpoint = Checkpoint(lambda: store, "checkpoints/a", every_seconds=3600)
    settled(checkpoint.folder, "state", "whole")
    assert checkpoint.keep()
    (checkpoint.folder / "state").write_text("half of the next o")  # just now
    assert not checkpoint.keep()
    newest = store.latest("checkpoints/a")
    assert newest is not None
    assert newest.sequence == 1
    checkpoint.close(succeeded=False)


def test_it_is_kept_by_the_clock(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    checkpoint = Checkpoint(lambda: store, "checkpoints/a", every_seconds=0.05)
    settled(checkpoint.folder, "state", "one")
    deadline = time.monotonic() + 20
    while store.latest("checkpoints/a") is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert store.latest("checkpoints/a") is not None
    checkpoint.close(succeeded=True)


def test_outside_of_a_sweep_it_is_a_plain_folder() -> None:
    trial = Trial("t0", "all", 1)
    assert trial.checkpoint_dir == trial.checkpoint_dir
    assert list(trial.checkpoint_dir.iterdir()) == []
    trial.checkpoint_dir.rmdir()


@pytest.mark.long
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_training_that_is_killed_twice_ends_as_one_that_was_not(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    store, log = FolderStore(tmp_path / "store"), tmp_path / "epochs"
    text = TORCH_TEXT if library == "torch" else TEXT
    function = as_function_ref(capture(function_of(tmp_path, text)), store)

    def job_of(name: str, pause: float) -> tuple[CallJob, JobRequest]:
        arguments: dict[str, Any] = {"epochs": 8, "log": str(tmp_path / name), "pause": pause}
        job = CallJob(call=Call(function=function, arguments=arguments, seed=1, environment="e"))
        profile = ComputeProfile(name="far", kind="kubernetes")
        request = JobRequest(
            key=name, epoch=1, work=store_work([job], store), calls=1, runtime=store_runtime(store),
            store_uri=store.uri, profile=profile,
        )  # fmt: skip
        return job, request

    def start(request: JobRequest) -> subprocess.Popen[bytes]:
        python, *arguments = far_side.command(sys.executable)
        environment = {**os.environ, **far_side.environment(request), "AIRFLOW_ML_CHECKPOINT_SECONDS": "0.1"}
        environment["PYTHONPATH"] = ""
        return subprocess.Popen([python, *arguments], env=environment, cwd=tmp_path, start_new_session=True)

    def lines(file: Path) -> list[int]:
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def wait(condition: Any) -> None:
        deadline = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kept(job: CallJob) -> int:
        newest = store.latest(f"checkpoints/{job.call.key.partition(':')[2]}")
        return newest.sequence if newest is not None else 0

    job, request = job_of("epochs", 0.8)
    for number, kill in enumerate((signal.SIGKILL, signal.SIGTERM)):
        process = start(request)
        before = kept(job)
        wait(lambda before=before: kept(job) >= before + 2)
        os.killpg(process.pid, kill) if kill is signal.SIGKILL else process.send_signal(kill)
        assert process.wait(30) in (-signal.SIGKILL, far_side.STOPPED), number
        assert store.latest(call_ref(job.call)) is None
    with start(request) as process:
        assert process.wait(90) == 0
    newest = store.latest(call_ref(job.call))
    assert newest is not None
    first, weights = parse_as(CallResult, newest.value).value  # type: ignore[misc]  # a list of two
    assert isinstance(first, int)
    assert first >= 3  # it went on where the second one was ended
    seen = lines(log)
    assert set(seen) == set(range(8))
    assert len(seen) <= 8 + 4  # of each kill at most what came after the last checkpoint was done again
    plain, whole = job_of("whole", 0.0)
    with start(whole) as process:
        assert process.wait(90) == 0
    entry = store.latest(call_ref(plain.call))
    assert entry is not None
    assert parse_as(CallResult, entry.value).value == [0, weights]
