"""The documentation keeps up with the code: links, sections, names, options, included code."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest
import yaml

import airflow_ml
from airflow_ml import errors
from airflow_ml.cli.main import build_parser
from airflow_ml.provider_info import get_provider_info

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
STAGES = ("snapshot", "gate", "features", "sweep", "selection", "registration", "canary", "monitoring")
HOWTO_SECTIONS = (
    "Goal",
    "Shortest example",
    "Options that matter",
    "Retry, clear, kill, timeout",
    "Errors and remedies",
    "Limits",
)

_FENCE = re.compile(r"^```.*?^```\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INCLUDE = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)
#: Where this checkout stands, and homes of people.
_PLACE = re.compile(rf"{re.escape(str(ROOT))}|/home/\w|/Users/\w|[A-Z]:\\\\")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return _FENCE.sub("", text(page))


def anchors(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in found}


def named(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_resolve(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        assert "://" not in link, f"{link} leads out of the documentation"
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_place_of_one_machine(page: Path) -> None:
    assert not _PLACE.search(text(page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_included_code_is_there_and_whole(page: Path) -> None:
    includes = _INCLUDE.findall(text(page))
    # "--8<--" is valid Python: in a fence marked "python" a formatter would rewrite it, and the page would show it.
    assert len(includes) == len(re.findall(r"8 *< *--", text(page)))
    for include in includes:
        name, *where = include.split(":")
        source = text(ROOT / name)
        if len(where) == 1:
            assert f"--8<-- [start:{where[0]}]" in source
            assert f"--8<-- [end:{where[0]}]" in source
        elif where:
            first, last = map(int, where)
            lines = source.splitlines()
            assert last <= len(lines)
            # A range that slipped when the file changed cuts a statement in two, or begins with an empty line.
            assert lines[first - 1].strip()
            assert lines[last - 1].strip()
            ast.parse(textwrap.dedent("\n".join(lines[first - 1 : last])))
        elif name.endswith(".py"):
            ast.parse(source)


def test_every_page_is_in_the_navigation() -> None:
    # The tag of the relative base path is mkdocs' own.
    settings = yaml.safe_load(text(ROOT / "mkdocs.yml").replace("!relative", ""))

    def leaves(item: object) -> list[str]:
        if isinstance(item, str):
            return [item]
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
        return [leaf for one in inner for leaf in leaves(one)]

    assert sorted(leaves(settings["nav"])) == sorted(named(page) for page in PAGES)
    assert settings["theme"]["font"] is False
    assert "analytics" not in settings.get("extra", {})


@pytest.mark.parametrize("stage", STAGES)
def test_howto_has_its_sections(stage: str) -> None:
    page = DOCS / "howto" / f"{stage}.md"
    headings = re.findall(r"^## (.+)$", prose(page), re.MULTILINE)
    assert tuple(heading for heading in headings if heading in HOWTO_SECTIONS) == HOWTO_SECTIONS
    assert f'--8<-- "dags_examples/{stage}.py"' in text(page)


def test_every_public_name_is_in_the_reference() -> None:
    reference = "\n".join(text(page) for page in sorted((DOCS / "reference").glob("*.md")))
    missing = [name for name in airflow_ml.__all__ if not re.search(rf"\b{re.escape(name)}\b", reference)]
    assert not missing


def test_every_operator_option_named_in_a_howto_exists() -> None:
    """First cells of option tables that are one plain name are arguments of the stage's operators."""
    from airflow_ml.core.feature_inputs import AsOf, Input, Label, Lookup, Rolling
    from airflow_ml.core.feature_view import FeatureView
    from airflow_ml.decorators.sweep import sweep_task

    operators = {name: getattr(airflow_ml, name) for name in airflow_ml.__all__ if name.endswith("Operator")}
    pieces = [FeatureView, Label, Input, AsOf, Lookup, Rolling, sweep_task]
    known = {name for one in [*operators.values(), *pieces] for name in inspect.signature(one).parameters}
    for stage in STAGES:
        section = prose(DOCS / "howto" / f"{stage}.md").partition("## Options that matter")[2].partition("\n## ")[0]
        tables = re.findall(r"\| option \| default \| why \|\n\|[-|]+\|\n((?:\|.*\n)+)", section)
        assert tables, stage
        for row in "".join(tables).splitlines():
            for name in re.findall(r"`([a-z_]+)`", row.split("|")[1]):
                assert name in known, f"{stage}: {name}"


def _classes() -> list[type[errors.AirflowMLError]]:
    found = [one for one in vars(errors).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, errors.AirflowMLError)]


def test_every_error_is_in_the_reference_with_its_facts() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| (yes|no) \|", text(DOCS / "reference" / "errors.md"), re.MULTILINE
    )
    table = {name: (standard, retried) for name, standard, retried in rows}
    assert set(table) == {one.__name__ for one in _classes()}
    for one in _classes():
        standard = next((base.__name__ for base in one.__bases__ if base.__module__ == "builtins"), "")
        if one is errors.AirflowMLError:
            standard = ""
        assert table[one.__name__] == (standard, "yes" if one.retryable else "no"), one.__name__


def test_errors_named_in_howtos_exist() -> None:
    known = {one.__name__ for one in _classes()}
    for stage in STAGES:
        section = prose(DOCS / "howto" / f"{stage}.md").partition("## Errors and remedies")[2].partition("\n## ")[0]
        cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
        assert cells, stage
        assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} <= known, stage


def test_command_line_is_complete() -> None:
    page = text(DOCS / "reference" / "cli.md")
    verbs = next(one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    for name, parser in verbs.choices.items():
        assert f"| `{name}` |" in page
        for action in parser._actions:
            assert (action.option_strings or [action.dest])[-1] in page


def test_configuration_is_complete() -> None:
    page = text(DOCS / "reference" / "configuration.md")
    info = get_provider_info()
    for name, option in info["config"]["ml"]["options"].items():
        assert f"| `{name}` |" in page
        assert option["default"] in page
        assert f"AIRFLOW__ML__{name.upper()}" in page
    for kind in info["connection-types"]:
        assert f"`{kind['connection-type']}`" in page
    for decorator in info["task-decorators"]:
        assert f"@task.{decorator['name']}" in page
