"""Entry point: ``python -m airflow_ml.gateway --directory DIR --store URI --port P``."""

from __future__ import annotations

import argparse
import fcntl
import functools
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from airflow_ml.adapters.object_store import open_store
from airflow_ml.errors import AirflowMLError, ConfigurationError
from airflow_ml.gateway.app import make_app
from airflow_ml.gateway.service import Gateway
from airflow_ml.gateway.traffic_file import write_durably

_log = logging.getLogger("airflow_ml.gateway")

TOKEN_VARIABLE = "AIRFLOW_ML_GATEWAY_TOKEN"  # noqa: S105 - a name, not a token


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m airflow_ml.gateway", description=__doc__)
    parser.add_argument(
        "--directory", type=Path, required=True, help="where traffic and log are kept; one gateway each"
    )
    parser.add_argument(
        "--store", required=True, help="artifact store that holds the models, for example file:///models"
    )
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one; DIRECTORY/address says which")
    parser.add_argument("--host", default="127.0.0.1", help="beyond loopback a token is needed (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _serve(options.directory, options.store, options.host, options.port)
    except (AirflowMLError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _serve(directory: Path, store_uri: str, host: str, port: int) -> None:
    token = os.environ.get(TOKEN_VARIABLE, "")
    loopback = _is_loopback(host)
    if not loopback and not token:
        raise ConfigurationError(
            "A gateway beyond loopback needs a control token",
            host,
            f"Set {TOKEN_VARIABLE} for the gateway and its clients.",
        )
    open_store(store_uri)  # each model's process opens it itself; an address that is none is refused here
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                "Another gateway serves this directory", directory, "Stop it, or give each gateway its own."
            ) from error
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}"
        write_durably(directory / "address", f"{address}\n")
        app = make_app(
            functools.partial(Gateway, directory, store_uri, functools.partial(datetime.now, UTC)),
            token=token,
            hosts=(host, shown, "localhost") if loopback else (),
            open_reads=loopback,
        )
        config = uvicorn.Config(
            app,
            loop="auto",  # uvloop where it is installed
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # With the model processes' one second of draining it stays below five.
            timeout_graceful_shutdown=3,
            limit_concurrency=512,
            lifespan="on",
        )
        _log.info("Serving at %s, models from %s", address, store_uri)
        with listener:
            uvicorn.Server(config).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
