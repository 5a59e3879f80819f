"""A PostgreSQL on one machine, for an Airflow whose database outlives kills: 127.0.0.1 only, any user, no password."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from airflow_ml.testing.child_process import free_ports

#: PostgreSQL refuses to run as root; Debian's package brings this user.
_USER = "postgres"


def available() -> bool:
    """Whether this machine has the programs, and root the user to run them as."""
    return all(shutil.which(name) for name in ("initdb", "pg_ctl", "postgres")) and (
        os.geteuid() != 0 or shutil.which("setpriv") is not None
    )


class LocalPostgres:
    """Starts a server in a directory of its own, and stops it. Also a context manager.

    Args:
        directory: Made if absent; where root runs this, every folder above must be open to other users.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        """Address of the database ``postgres``, for SQLAlchemy."""
        return f"postgresql+psycopg2://{_USER}@127.0.0.1:{self.port}/{_USER}"

    def start(self) -> Self:
        """Make the cluster where there is none, and start it.

        Raises:
            RuntimeError: PostgreSQL said no; the message has its words.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.directory, _USER, _USER)
        data = str(self.directory / "data")
        if not Path(data).exists():
            self._run("initdb", "-D", data, "-U", _USER, "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8")
        # Nothing here has to outlive a crash of the machine, and fsync would be most of the time.
        options = f"-p {self.port} -h 127.0.0.1 -k {self.directory} -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", data, "-l", str(self.directory / "postgres.log"), "-o", options, "-w", "start")
        return self

    def stop(self) -> None:
        """End the server; one that does not run is left as it is."""
        data = self.directory / "data"
        if (data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _run(self, *command: str) -> None:
        other = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"] if os.geteuid() == 0 else []
        # Output to a file: the server inherits it and would keep a pipe open for ever.
        log_path = self.directory.parent / f"{self.directory.name}-commands.log"
        with log_path.open("ab") as log:
            done = subprocess.run(
                [*other, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", timeout=120, check=False
            )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with code {done.returncode}: {log_path.read_text()[-1000:]}")
