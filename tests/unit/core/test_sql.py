import re

import pytest
import sqlglot
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot import exp

from airflow_ml.core.sql import comment, ident, ident_parts, pyformat, require_select, sibling
from airflow_ml.errors import ConfigurationError

HOSTILE = [
    't"; DROP TABLE x; --',
    '"t"; DROP TABLE x',
    '"t" t2',
    "$$x$$",
    "t--",
    "t /* x */",
    "’t",
    "@~/../x",
    "t FROM (SELECT 1)",
    "a.b.c.d",
    "a..b",
    ".a",
    "a.",
    "",
    '""',
    '"',
    '"a"b',
    'a"b"',
    "a\x00b",
    '"a\x00b"',
    "a b",
    "1a",
    "a\n",
    "é",
    "ſ",
    "x" * 256,
    '"' + "x" * 256 + '"',
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_with_the_name_and_the_remedy(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Not a name of a table") as refused:
        ident(name)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("name", [None, 3, b"t", ["t"]])
def test_other_types_are_refused(name: object) -> None:
    with pytest.raises(ConfigurationError):
        ident(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("flights", '"FLIGHTS"'),
        ("ml.flights", '"ML"."FLIGHTS"'),
        ('Ml."My ""odd"" name"."a.b"', '"ML"."My ""odd"" name"."a.b"'),
        ("order", '"ORDER"'),
        ("_a$1", '"_A$1"'),
    ],
)
def test_names_are_resolved_as_snowflake_does(name: str, safe: str) -> None:
    assert ident(name) == safe


@given(st.one_of(st.text(max_size=60), st.text(alphabet="aB1_$.\" ;-*/\\'\n%", max_size=12), st.sampled_from(HOSTILE)))
@example('"; DROP TABLE t; --"')
@example("a.b")
@example('"a"."b"."c"')
def test_any_text_is_refused_or_is_exactly_one_name(name: str) -> None:
    try:
        safe = ident(name)
    except ValueError:
        return
    statements = sqlglot.parse(f"SELECT 1 FROM {safe}", read="snowflake")
    assert len(statements) == 1
    (table,) = statements[0].find_all(exp.Table)
    parsed = tuple(part.name for part in table.parts)
    assert 1 <= len(parsed) <= 3
    assert parsed == ident_parts(name)
    assert all(part.quoted for part in table.parts)
    assert ident(safe) == safe


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=300), max_size=4))
@example({"dag": "*/ DROP TABLE t; /*", "run": "%(x)s", "task": "a\nb"})
def test_a_comment_is_one_comment_without_formatting_marks(tag: dict[str, str]) -> None:
    text = comment(tag)
    assert text.startswith("/* airflow_ml")
    assert text.index("*/") == len(text) - 2
    assert not re.search(r"[%\n;'\"]", text)
    assert sqlglot.parse_one(f"{text} SELECT 1", read="snowflake").sql(comments=False) == "SELECT 1"


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        ("SELECT %(x)s", "SELECT %(x)s"),
        ("LIKE 'a%'", "LIKE 'a%%'"),
        ("LIKE 'a%%'", "LIKE 'a%%'"),
        ("5 % 3 = %(x)s", "5 %% 3 = %(x)s"),
        ("%s %d %(x)d", "%%s %%d %%(x)d"),
        ("%%(x)s", "%%(x)s"),
        ("%", "%%"),
    ],
)
def test_only_bound_names_are_formatting(statement: str, sent: str) -> None:
    assert pyformat(statement, ["x"]) == sent


@given(st.text(alphabet="%()sx' a", max_size=30))
def test_any_statement_can_be_formatted_or_names_what_it_lacks(statement: str) -> None:
    if {*re.findall(r"%%|%\(([^()%]+)\)s", statement)} - {"x", ""}:
        with pytest.raises(ConfigurationError, match="has no value"):
            pyformat(statement, ["x"])
        return
    sent = pyformat(statement, ["x"])
    assert sent % {"x": "?"} == re.sub(r"%%|%\(x\)s", lambda match: {"%%": "%"}.get(match.group(), "?"), statement)


@pytest.mark.parametrize(
    "statement",
    ["select 1", "  -- c\n/* c */ WITH a AS (SELECT 1) SELECT * FROM a", "(SELECT 1)", "SELECT(1)", "/**/SELECT 1"],
)
def test_reads_are_let_through(statement: str) -> None:
    require_select(statement)


@pytest.mark.parametrize(
    "statement",
    ["", "DELETE FROM t", "-- SELECT 1", "/* SELECT */ DROP TABLE t", "SELECTED", "selec", "; SELECT 1", "/* SELECT 1"],
)
def test_everything_else_is_refused(statement: str) -> None:
    with pytest.raises(ConfigurationError, match="SELECT"):
        require_select(statement)


def test_a_sibling_lies_in_the_same_schema() -> None:
    assert sibling('ml."a.b".t', "tmp_1") == '"ML"."a.b"."TMP_1"'
    assert sibling("t", "tmp_1") == '"TMP_1"'
