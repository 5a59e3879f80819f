"""docker-compose.yaml: its form, its pins, its ports, and that every secret comes from the file that a script makes."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")
make_env = runpy.run_path(str(ROOT / "scripts/make_env.py"))

#: The part of the Compose specification that the file uses, closed: a misspelt key is an error here, as it is there.
_STRINGS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
SCHEMA = {
    "type": "object",
    "required": ["name", "services", "volumes"],
    "properties": {
        "name": {"pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"additionalProperties": {"$ref": "#/$defs/service"}},
        "volumes": {"additionalProperties": {"type": ["object", "null"]}},
    },
    "patternProperties": {"^x-": {}},
    "additionalProperties": False,
    "$defs": {
        "service": {
            "type": "object",
            "required": ["image", "restart"],
            "properties": {
                "image": {"type": "string"},
                "build": {
                    "type": "object",
                    "required": ["context", "dockerfile", "target"],
                    "additionalProperties": {"type": "string"},
                },
                "init": {"type": "boolean"},
                "cap_drop": _STRINGS,
                "security_opt": _STRINGS,
                "entrypoint": _STRINGS,
                "command": {"type": ["string", "array"], "items": {"type": "string"}},
                # A number or true in YAML would reach the process as another word than the one that stands there.
                "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                "ports": _STRINGS,
                "volumes": _STRINGS,
                "restart": {"enum": ["no", "unless-stopped"]},
                "depends_on": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["condition"],
                        "properties": {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}},
                        "additionalProperties": False,
                    },
                },
                "healthcheck": {
                    "type": "object",
                    "properties": {
                        "test": {
                            "type": "array",
                            "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}],
                            "items": {"type": "string"},
                        },
                        "disable": {"type": "boolean"},
                        "interval": {"pattern": "^[0-9]+s$"},
                        "timeout": {"pattern": "^[0-9]+s$"},
                        "start_period": {"pattern": "^[0-9]+s$"},
                        "retries": {"type": "integer", "minimum": 1},
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        }
    },
}


def strings(value: Any) -> list[str]:
    """Return every string at any depth."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_form() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(COMPOSE)


def test_all_parts_are_there() -> None:
    airflow = {"initialize", "api-server", "scheduler", "dag-processor", "triggerer", "postgres"}
    assert set(SERVICES) == airflow | {"s3", "mlflow", "warehouse", "flights", "gateway"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\$\{\w+:-\d+\}|\d+):\d+", port)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image
    assert re.search(r"\d+\.\d+|\d{4}-\d\d-\d\d", tag), "a tag that says a version"


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_on_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] != "no":
        assert service["healthcheck"]["test"]


def test_what_is_waited_for_exists_and_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            runs_on = SERVICES[name]["restart"] != "no"
            assert how["condition"] == ("service_healthy" if runs_on else "service_completed_successfully")


def test_volumes_are_declared_and_used_and_files_exist() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = {mount for mount in mounts if not mount.startswith("./")}
    assert named == set(COMPOSE["volumes"])
    assert all((ROOT / mount).exists() for mount in mounts if mount.startswith("./"))


def test_every_variable_without_default_is_written_by_the_script() -> None:
    used = {match["name"]: match["rest"] for match in VARIABLE.finditer(TEXT)}
    needed = {name for name, rest in used.items() if not rest.startswith(":-")}
    assert needed == set(make_env["settings"]())
    assert all(used[name].startswith(":?") for name in needed), "an unset secret must stop the start"


def test_no_secret_stands_in_the_file() -> None:
    secret = re.compile(r"PASSWORD$|SECRET|TOKEN$|FERNET|ACCESS_KEY|ROOT_USER$")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if secret.search(name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name
            if name.startswith("AIRFLOW_CONN_"):
                password = json.loads(value).get("password", "${")
                assert password.startswith("${")
    for text in strings(COMPOSE):
        assert not re.search(r"://[^/\s:@]+:(?!\$\{)[^/\s@]+@", text), "a password in an address"


def test_connections_are_json_once_the_variables_are_filled_in() -> None:
    values = make_env["settings"]()
    environment = SERVICES["scheduler"]["environment"]
    filled = {name: VARIABLE.sub(lambda match: values[match["name"]], text) for name, text in environment.items()}
    found = {name: json.loads(text) for name, text in filled.items() if name.startswith("AIRFLOW_CONN_")}
    assert {one["conn_type"] for one in found.values()} == {"snowflake", "mlflow", "airflow_ml_gateway"}
    assert {one.get("host") or one["extra"]["host"] for one in found.values()} <= set(SERVICES)


def test_the_image_is_of_the_locked_airflow() -> None:
    locked = re.search(r"^apache-airflow==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert locked is not None
    first = re.findall(r"^FROM (\S+)", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)[0]
    assert first == f"apache/airflow:{locked[1]}-python3.11"


def test_the_image_is_built_from_what_it_copies_and_nothing_else() -> None:
    lines = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    copied = {name for line in lines for name in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in rules, "secrets and environments never reach the builder"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied


def test_env_file_is_private_random_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    command = [sys.executable, str(ROOT / "scripts/make_env.py"), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in first.splitlines())
    assert all(re.fullmatch(r"[\w=-]{20,}", value) for value in values.values())
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert path.read_text() == first
    subprocess.run([*command, "--force"], check=True, capture_output=True)
    assert not set(values.values()) & {line.split("=", 1)[1] for line in path.read_text().splitlines()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_fernet_key_is_one() -> None:
    from cryptography.fernet import Fernet

    Fernet(make_env["settings"]()["AIRFLOW_FERNET_KEY"])


def compose_command() -> list[str] | None:
    """Return Compose 2 or later as it is installed here, plugin or program; None without one."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        told = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        if told.returncode == 0 and not told.stdout.startswith("1."):
            return command
    return None


def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("Docker Compose is not installed; test_form checks the form")
    make_env["write"](tmp_path / "env")
    command += ["--file", str(ROOT / "docker-compose.yaml"), "--env-file", str(tmp_path / "env"), "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
    assert checked.returncode == 0, checked.stderr
