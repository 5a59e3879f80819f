"""The pages' bundle is committed: made from the sources beside it, small, and in need of nothing from the network."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

WWW = Path(__file__).parents[3] / "airflow_ml" / "plugin" / "www"
BUNDLE = WWW / "dist" / "airflow_ml.js"
LIMIT_BYTES = 400 * 1024
REMEDY = "run `make ui` and commit airflow_ml/plugin/www/dist"

pytestmark = pytest.mark.skipif(not (WWW / "package.json").exists(), reason="an installed package has no sources")


def sources() -> list[str]:
    """The files that vite.config.ts names as what the bundle is made from."""
    files = [path for folder in ("public", "src") for path in (WWW / folder).rglob("*")]
    inner = [path for path in files if path.is_file() and not re.search(r"\.test\.|^types\.ts$", path.name)]
    outer = [WWW / name for name in ("package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")]
    return sorted(path.relative_to(WWW).as_posix() for path in [*inner, *outer])


def test_bundle_was_built_from_these_sources() -> None:
    lines = (WWW / "dist" / "SOURCES.sha256").read_text().splitlines()
    recorded = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    assert sorted(recorded) == sources(), REMEDY
    changed = [
        name for name in recorded if hashlib.sha256((WWW / name).read_bytes()).hexdigest() != recorded[name]
    ]  # fmt: skip
    assert not changed, REMEDY


def test_bundle_is_small() -> None:
    assert len(gzip.compress(BUNDLE.read_bytes(), 9)) <= LIMIT_BYTES


def test_bundle_needs_nothing_from_the_network() -> None:
    text = BUNDLE.read_text()
    assert not re.findall(r"\bimport\s*\(|\bfrom\s*['\"`]https?:|<script|importScripts", text)
    # What is left are names of XML namespaces and pages named in messages; nothing of it is asked for.
    hosts = set(re.findall(r"https?://([a-z0-9.-]+\.[a-z]+)", text))
    assert hosts <= {"www.w3.org", "react.dev", "tanstack.com", "github.com"}


def test_lock_names_no_host_and_has_digests() -> None:
    lock = json.loads((WWW / "package-lock.json").read_text())
    packages = {name: value for name, value in lock["packages"].items() if name}
    assert len(packages) > 50
    assert [name for name, value in packages.items() if "resolved" in value] == []
    assert [name for name, value in packages.items() if not value.get("integrity") and not value.get("inBundle")] == []


def test_no_way_around_escaping() -> None:
    """React renders strings as text; these are the ways around it."""
    for path in (WWW / "src").rglob("*.ts*"):
        text = path.read_text()
        assert not re.search(r"dangerouslySetInnerHTML|\.innerHTML|insertAdjacentHTML|document\.write\b", text), path
