"""What is installed beside airflow_ml: which of its extras can be used, and which versions they have."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from airflow_ml.core.finding import Finding, missing, present, unknown

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DISTRIBUTION = "airflow-ml"


def examine_installation() -> Iterator[Finding]:
    """Yield the version of airflow_ml and of Python, then each extra: there, partly there, or not installed."""
    own = metadata.metadata(_DISTRIBUTION)
    yield present("airflow-ml", f"{own['Version']} on Python {platform.python_version()}")
    for extra in sorted(own.get_all("Provides-Extra") or ()):
        if extra != "all":
            yield _extra(extra)


def _extra(extra: str) -> Finding:
    found: list[str] = []
    absent: list[str] = []
    wrong: list[str] = []
    for requirement in _required_by(extra):
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            absent.append(requirement.name)
            continue
        (found if requirement.specifier.contains(version, prereleases=True) else wrong).append(
            f"{requirement.name} {version}"
        )
    check, remedy = f"extra {extra}", f'pip install "{_DISTRIBUTION}[{extra}]"'
    if wrong:
        return missing(check, f"too old: {', '.join(wrong)}", remedy)
    if absent:
        return unknown(check, f"not installed: {', '.join(absent)}", f"If DAGs need it: {remedy}")
    return present(check, ", ".join(found))


def _required_by(extra: str) -> Iterator[Requirement]:
    from packaging.requirements import Requirement

    for text in metadata.requires(_DISTRIBUTION) or ():
        requirement = Requirement(text)
        if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
            yield requirement
