"""Output: lines are whole, long ones cut, and all of it limited."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.runtime.output import LINE_BYTES, LineLog


def logged(chunks: list[bytes], *, limit_bytes: int = 1 << 20) -> list[str]:
    lines: list[str] = []
    log = LineLog(lines.append, limit_bytes=limit_bytes, prefix="> ")
    for chunk in chunks:
        log.feed(chunk)
    log.end()
    return lines


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=50), max_size=20), st.integers(1, 7))
def test_lines_do_not_depend_on_the_chunks(lines, size):
    data = "".join(line + "\n" for line in lines).encode()
    chunks = [data[index : index + size] for index in range(0, len(data), size)]
    assert logged(chunks) == [f"> {line}" for line in lines]


def test_a_last_line_without_end_is_told():
    assert logged([b"a\nb"]) == ["> a", "> b"]


def test_a_long_line_is_cut_whether_it_comes_at_once_or_in_pieces():
    for chunks in ([b"x" * 10_000 + b"\nnext\n"], [b"x" * 1000] * 10 + [b"\nnext\n"]):
        lines = logged(chunks)
        assert lines[0].startswith("> " + "x" * LINE_BYTES)
        assert len(lines[0]) < LINE_BYTES + 10
        assert lines[1] == "> next"
        assert "bytes of output left out" in lines[2]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=5000), max_size=30))
def test_any_bytes_are_told_within_the_limit_and_on_one_line(chunks):
    lines = logged(chunks, limit_bytes=8000)
    assert sum(len(line.encode()) for line in lines) < 4 * (8000 + LINE_BYTES) + 9 * len(lines)
    assert not any(character in line for line in lines for character in "\n\r\0")


def test_after_the_limit_the_rest_is_counted():
    lines = logged([b"0123456789\n"] * 100, limit_bytes=50)
    assert lines[:-1] == ["> 0123456789"] * 5
    assert lines[-1] == f"> ... {95 * 11} bytes of output left out"
