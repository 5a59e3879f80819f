"""A warehouse on this machine for the real Snowflake connector: fakesnow's server (DuckDB), on disk, over TLS.

    python -m airflow_ml.testing.warehouse --directory DIR --port PORT [--plain-http] [--host HOST --server-name NAME]

What fakesnow's own command line does not do:

- data on disk: ``DIR/<database>.db``, which survives a restart (stages do not);
- TLS: Airflow's ``SnowflakeHook`` always speaks https. A certificate authority is made on the spot in ``DIR/tls``, and
  ``DIR/ca.pem`` is the bundle a client needs in ``REQUESTS_CA_BUNDLE``: this authority and the public ones;
- refuse at once what it cannot answer, and keep null timestamps null: see ``fakesnow_repairs``.

It has no Time Travel, no query history and takes any password: for demonstrations and tests, on 127.0.0.1 only, or on
a network of containers that nobody else is on (``--host``, with the name that they know it by).
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow_ml.errors import ConfigurationError
from airflow_ml.testing import fakesnow_repairs

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

HOST = "127.0.0.1"
#: The name in the certificate and in the connection; it resolves to 127.0.0.1 everywhere.
SERVER_NAME = "localhost"


class LocalWarehouse:
    """Starts and stops the warehouse as a process of its own.

    Args:
        directory: Where data, certificates and the log (``warehouse.log``) lie; created if need be.
        port: TCP port; 0 takes a free one.
        plain_http: No TLS. Faster to start; Airflow's hook cannot speak to it.
        database: The database that connections open; fakesnow creates it on the first connection.
        schema: The schema that connections open; likewise.
    """

    def __init__(
        self, directory: Path, port: int = 0, *, plain_http: bool = False, database: str = "ML", schema: str = "FLIGHTS"
    ) -> None:
        self.directory = directory.absolute()
        self.port = port or _free_port()
        self.plain_http = plain_http
        self.database = database
        self.schema = schema
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ca_bundle(self) -> Path:
        """The file of certificate authorities for ``REQUESTS_CA_BUNDLE``; it exists once the warehouse is ready."""
        return self.directory / "ca.pem"

    @property
    def pid(self) -> int | None:
        """The server's process id; None before ``start``."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the server that ``start`` started has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server; it answers once ``wait_ready`` returns."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "airflow_ml.testing.warehouse"]
        command += ["--directory", str(self.directory), "--port", str(self.port)]
        with (self.directory / "warehouse.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--plain-http"] if self.plain_http else command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, timeout_seconds: float = 60.0) -> None:
        """Return when the server answers.

        Raises:
            ConfigurationError: it ended, or did not answer in time; the message holds the end of its log.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self._process and not self.running:
                break
            try:
                self._answer()
                return
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        raise ConfigurationError(
            f"The local warehouse does not answer on {HOST}:{self.port}",
            (self.directory / "warehouse.log").read_text(errors="replace")[-1500:],
            "Read warehouse.log in its directory.",
        )

    def stop(self, timeout_seconds: float = 15.0) -> None:
        """Stop the server that ``start`` started, by TERM and, if it does not end, KILL."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def connection_extra(self) -> dict[str, Any]:
        """Return the ``extra`` of an Airflow connection of type ``snowflake``; its schema is a field of its own.

        ``insecure_mode`` turns off the OCSP look-up (an own authority has no responder); the certificate is verified.
        """
        return {
            "account": SERVER_NAME,
            "host": SERVER_NAME,
            "port": self.port,
            "database": self.database,
            "warehouse": "LOCAL",
            "insecure_mode": True,
        }

    def environment(self) -> dict[str, str]:
        """Return the environment variables a client process needs.

        Platform detection would ask cloud metadata addresses at each connect.
        """
        detection = {"SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true"}
        return detection if self.plain_http else {**detection, "REQUESTS_CA_BUNDLE": str(self.ca_bundle)}

    def connect(self, *, network_timeout_seconds: int = 30) -> SnowflakeConnection:
        """Connect with the real connector; over TLS this process must have ``environment()`` in its own."""
        return connect(
            {**self.connection_extra(), "protocol": "http" if self.plain_http else "https"},
            schema=self.schema,
            network_timeout_seconds=network_timeout_seconds,
        )

    def _answer(self) -> None:
        connection: http.client.HTTPConnection
        if self.plain_http:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        else:
            context = ssl.create_default_context(cafile=str(self.ca_bundle))
            connection = http.client.HTTPSConnection(SERVER_NAME, self.port, timeout=5, context=context)
        try:
            connection.request("GET", "/session")
            connection.getresponse().read()
        finally:
            connection.close()


def connect(extra: Mapping[str, Any], *, schema: str, network_timeout_seconds: int = 30) -> SnowflakeConnection:
    """Connect to a local warehouse by its ``connection_extra``.

    Args:
        extra: As of ``LocalWarehouse.connection_extra``, with ``protocol`` for plain http.
        schema: The schema that unqualified table names mean.
        network_timeout_seconds: After this time without an answer a statement fails; the connector's default is never.
    """
    import snowflake.connector

    os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
    options = {key: value for key, value in extra.items() if key != "insecure_mode"}
    return snowflake.connector.connect(
        **options,
        user="demo",
        password="any",
        schema=schema,
        network_timeout=network_timeout_seconds,
        login_timeout=network_timeout_seconds,
        disable_ocsp_checks=True,
    )


def serve(
    directory: Path, port: int, *, plain_http: bool = False, host: str = HOST, server_name: str = SERVER_NAME
) -> None:
    """Run the server in this process until TERM or INT."""
    # Fakesnow makes the folder of its stages when it is imported, and leaves it; stages do not survive a restart.
    stages = directory / "stages"
    shutil.rmtree(stages, ignore_errors=True)
    stages.mkdir(parents=True)
    tempfile.tempdir = str(stages)

    import fakesnow.server
    import uvicorn
    from fakesnow.instance import FakeSnow

    fakesnow_repairs.apply()
    # uvicorn raises the signal again when it has shut down; as SystemExit it still lets the files be closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    fakesnow.server.shared_fs = FakeSnow(db_path=directory)
    tls: dict[str, Any] = {}
    if not plain_http:
        certificate = _certificate(directory, server_name)
        tls = {"ssl_certfile": str(certificate), "ssl_keyfile": str(certificate)}
    try:
        # A client that left without a word would otherwise hold the end up for half a minute of TLS shutdown.
        uvicorn.run(fakesnow.server.app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=2, **tls)
    finally:
        fakesnow.server.shared_fs.duck_conn.close()


def _certificate(directory: Path, server_name: str) -> Path:
    """Return the server's key and certificate in one file; made once per directory, since clients keep the bundle."""
    import certifi
    import trustme

    tls, bundle = directory / "tls", directory / "ca.pem"
    tls.mkdir(mode=0o700, exist_ok=True)
    server = tls / "server.pem"
    if not (server.exists() and bundle.exists()):
        authority = trustme.CA(organization_name="airflow_ml local warehouse")
        authority.issue_cert(server_name, HOST).private_key_and_cert_chain_pem.write_to_path(str(server))
        server.chmod(0o600)
        bundle.write_bytes(authority.cert_pem.bytes() + b"\n" + Path(certifi.where()).read_bytes())
    return server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m airflow_ml.testing.warehouse", description=__doc__.split("\n")[0])
    parser.add_argument("--directory", type=Path, required=True, help="where data and certificates lie")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plain-http", action="store_true", help="no TLS")
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--server-name", default=SERVER_NAME, help="name in a new certificate (default: %(default)s)")
    options = parser.parse_args(arguments)
    serve(
        options.directory.absolute(),
        options.port,
        plain_http=options.plain_http,
        host=options.host,
        server_name=options.server_name,
    )


if __name__ == "__main__":
    main()
