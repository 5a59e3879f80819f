"""Lineage as a picture: records from left to right in the order in which they came of each other, as a plain SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from airflow_ml.core.lineage import Step

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN, _TITLE = 220, 64, 64, 22, 28, 34
_INK, _GREY, _LINE = "#1e293b", "#64748b", "#94a3b8"
#: Colour of a record's edge; others are grey.
_COLOUR = {
    "DatasetSnapshot": "#0369a1",
    "GateReport": "#b45309",
    "FeatureSet": "#047857",
    "Leaderboard": "#7c3aed",
    "Selection": "#7c3aed",
    "ModelVersion": "#be123c",
    "Rollout": "#be123c",
    "ScoreTable": "#0369a1",
    "DriftReport": "#b45309",
}
_CHARACTERS = 30


def lineage_picture(steps: Sequence[Step], edges: Iterable[tuple[str, str]], *, title: str) -> str:
    """Return an SVG of records and the tasks that made them.

    Args:
        steps: Of a way up or down.
        edges: From digest to digest, in the direction of the data.
        title: The heading.
    """
    known = {step.digest: step for step in steps}
    lines = [(left, right) for left, right in edges if left in known and right in known]
    columns = _columns(known, lines)
    place = {
        digest: (_MARGIN + column * (_WIDTH + _GAP_X), _MARGIN + _TITLE + row * (_HEIGHT + _GAP_Y))
        for column, digests in enumerate(columns)
        for row, digest in enumerate(digests)
    }
    width = 2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + _TITLE + max(map(len, columns), default=0) * (_HEIGHT + _GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 8}" font-size="17" font-weight="600" fill="{_INK}">{escape(title)}</text>',
        *(_line(place[left], place[right]) for left, right in lines),
        *(_box(known[digest], *place[digest]) for digest in place),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _columns(known: Mapping[str, Step], lines: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Put each record one column behind the last of those that it came of; within a column near its sources."""
    sources: dict[str, list[str]] = {digest: [] for digest in known}
    for left, right in lines:
        sources[right].append(left)
    depth: dict[str, int] = {}

    def depth_of(digest: str, path: frozenset[str]) -> int:
        if digest not in depth:
            before = [item for item in sources[digest] if item not in path]
            depth[digest] = 1 + max((depth_of(item, path | {digest}) for item in before), default=-1)
        return depth[digest]

    columns: list[list[str]] = []
    for digest in sorted(known, key=lambda item: depth_of(item, frozenset())):
        while len(columns) <= depth[digest]:
            columns.append([])
        columns[depth[digest]].append(digest)
    row: dict[str, float] = {}
    for column in columns:
        column.sort(key=lambda item: sum(row[one] for one in sources[item]) / max(1, len(sources[item])))
        row.update({digest: float(number) for number, digest in enumerate(column)})
    return columns


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    to_x, to_y = end[0], end[1] + _HEIGHT // 2
    middle = (x + to_x) // 2
    tip = f"M{to_x - 7} {to_y - 4}L{to_x} {to_y}L{to_x - 7} {to_y + 4}"
    path = f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}{tip}"
    return f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>'


def _box(step: Step, x: int, y: int) -> str:
    task = step.made_by
    colour = _COLOUR.get(step.record, _GREY)
    details = f"{task.dag} / {task.run}\n{step.digest}\ncommit {task.git.commit}"
    texts = (
        (step.record, 20, 14, _INK, "600"),
        (task.title, 38, 12, _INK, "400"),
        (f"{step.digest.partition(':')[2][:12]}  {task.started_at:%Y-%m-%d %H:%M}", 54, 11, _GREY, "400"),
    )
    return "\n".join(
        [
            f"<g><title>{escape(details)}</title>",
            f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#f8fafc" stroke="{colour}" '
            'stroke-width="1.5"/>',
            *(
                f'<text x="{x + 12}" y="{y + down}" font-size="{size}" font-weight="{weight}" fill="{ink}">'
                f"{escape(_short(text))}</text>"
                for text, down, size, ink, weight in texts
            ),
            "</g>",
        ]
    )


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"
