"""Write the ``.env`` of docker-compose.yaml: every password and key made up on the spot, readable by its owner alone.

    python scripts/make_env.py [--force] [PATH]

Needs nothing but Python. An existing file is kept: its passwords are in the volumes already.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def settings() -> Mapping[str, str]:
    """Return a new value for each variable; all of them may stand in a URL and in JSON as they are."""
    return {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "S3_ACCESS_KEY": secrets.token_hex(10),
        "S3_SECRET_KEY": secrets.token_urlsafe(30),
        "AIRFLOW_ADMIN_PASSWORD": secrets.token_urlsafe(15),
        "AIRFLOW_API_SECRET_KEY": secrets.token_urlsafe(32),
        "AIRFLOW_JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "GATEWAY_TOKEN": secrets.token_urlsafe(24),
        "WAREHOUSE_PASSWORD": secrets.token_urlsafe(15),
    }


def write(path: Path, *, force: bool = False) -> None:
    """Write the file with mode 0600.

    Raises:
        FileExistsError: it is there already and ``force`` is not set.
    """
    lines = [f"{name}={value}" for name, value in settings().items()]
    if force:
        path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 where the file was written."""
    parser = argparse.ArgumentParser(prog="make_env.py", description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, default=Path(__file__).resolve().parents[1] / ".env")
    parser.add_argument(
        "--force", action="store_true", help="replace the file; existing volumes keep the old passwords"
    )
    options = parser.parse_args(arguments)
    try:
        write(options.path, force=options.force)
    except FileExistsError:
        sys.stderr.write(f"{options.path} is there already and stays as it is. To replace it: --force\n")
        return 1
    sys.stdout.write(f"Wrote {options.path}. Airflow's login is admin with AIRFLOW_ADMIN_PASSWORD from it.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
