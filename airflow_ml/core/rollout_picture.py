"""Stage 7, canary: the evidence of a rollout as a picture, an SVG that needs no library and loads nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from airflow_ml.core.canary import CONCLUDED, INCONCLUSIVE, INSTALLED, PROMOTED, ROLLED_BACK
from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.rollout_look import Look
from airflow_ml.core.rollout_plan import SAME, SHADOW
from airflow_ml.core.rollout_state import CONFLICT, RolloutState

_WIDTH, _HEIGHT = 960, 530
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 936, 118, 436
#: Looks drawn at most: one for every second pixel.
_POINTS = 420
_ADVANCE = "advance"
#: From a value to a pixel.
_Scale = Callable[[float], float]
_INK, _GREY, _RULE, _LINE, _BAND = "#1e293b", "#64748b", "#e2e8f0", "#1d4ed8", "#bfdbfe"
_COLOUR = {PROMOTED: "#15803d", INSTALLED: "#15803d", ROLLED_BACK: "#b91c1c"}
_WORDS = {
    PROMOTED: "promoted",
    INSTALLED: "installed",
    ROLLED_BACK: "rolled back",
    INCONCLUSIVE: "inconclusive",
    CONCLUDED: "concluded",
    CONFLICT: "conflict",
}


def rollout_picture(state: RolloutState, looks: Sequence[Look]) -> str:
    """Return an SVG of a rollout: effect and always-valid interval over data days, steps, decision.

    Args:
        state: The newest record of the rollout, live or ended.
        looks: Its looks, oldest first. Of many, the steps' changes and 420 others are drawn.
    """
    seen = _thinned(looks)
    days = max((look.data_days for look in seen), default=0.0) or 1.0
    low, high = _range(state, seen)

    def x(day: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * day / days, 1)

    def y(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low), 1)

    parts = [
        *_heading(state),
        *_steps(state, seen, days, x),
        *_axes(state, seen, days, low, high, x, y),
        *_evidence(state, seen, x, y),
        *_bounds(state, y),
        *_decision(state, seen, x, y),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, '
            f'sans-serif" font-size="13" fill="{_INK}">',
            f"<title>{_safe(_name(state))}</title>",
            f"<desc>{_safe(state.reason)}</desc>",
            f'<clipPath id="plot"><rect x="{_LEFT}" y="{_TOP}" width="{_RIGHT - _LEFT}" '
            f'height="{_BOTTOM - _TOP}"/></clipPath>',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _heading(state: RolloutState) -> list[str]:
    result = _result(state)
    return [
        _text(24, 34, _shortened(_name(state), 70), size=18, weight=600),
        _text(_RIGHT, 34, result, size=18, weight=600, anchor="end", fill=_COLOUR.get(state.state, _GREY)),
        _text(24, 58, _shortened(state.reason, 128), fill=_GREY),
    ]


def _steps(state: RolloutState, looks: Sequence[Look], days: float, x: _Scale) -> list[str]:
    """A strip above the plot: each step's weight over the days it had."""
    starts = [
        (look.data_days, state.plan.steps[look.step + 1])
        for look in looks
        if look.action == _ADVANCE and look.step + 1 < len(state.plan.steps)
    ]
    parts = [_text(_LEFT - 10, 99, "weight", anchor="end", fill=_GREY, size=12)]
    for index, (start, step) in enumerate(starts):
        end = starts[index + 1][0] if index + 1 < len(starts) else days
        left, width = x(start), x(end) - x(start)
        shade = 0.10 + 0.5 * step.weight_percent / 100
        parts.append(
            f'<rect x="{left}" y="84" width="{max(width - 1, 0.5):.1f}" height="22" fill="#0f766e" '
            f'fill-opacity="{shade:.2f}"/>'
        )
        label = {SHADOW: "shadow", SAME: "A/A"}.get(step.kind, f"{step.weight_percent:g} %")
        if width >= 8 * len(label):
            parts.append(_text(left + width / 2, 99, label, anchor="middle", size=12))
        if index:
            parts.append(
                f'<line x1="{left}" x2="{left}" y1="{_TOP}" y2="{_BOTTOM}" stroke="{_GREY}" stroke-dasharray="2 4" '
                'stroke-opacity="0.7"/>'
            )
    return parts


def _axes(
    state: RolloutState, looks: Sequence[Look], days: float, low: float, high: float, x: _Scale, y: _Scale
) -> list[str]:
    parts = []
    for value in _ticks(low, high, 6):
        parts.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y(value)}" y2="{y(value)}" stroke="{_RULE}"/>')
        parts.append(_text(_LEFT - 10, y(value) + 4, f"{value:+.4g}" if value else "0", anchor="end", size=12))
    for day in _ticks(0, days, 10):
        parts.append(_text(x(day), _BOTTOM + 18, f"{day:g}", anchor="middle", size=12))
    marks = [look.watermark_at for look in looks if look.watermark_at is not None]
    span = f", {marks[0]:%Y-%m-%d} to {marks[-1]:%Y-%m-%d}" if marks else ""
    parts.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 42, f"data days since the first traffic{span}", anchor="middle"))
    middle = (_TOP + _BOTTOM) / 2
    parts.append(
        f'<text transform="translate(22 {middle}) rotate(-90)" text-anchor="middle">'
        f"{_safe(_shortened(state.plan.metric, 30))}: challenger − champion</text>"
    )
    return parts


def _bounds(state: RolloutState, y: _Scale) -> list[str]:
    """Over the evidence: no difference, the margin, and which side is good."""
    minimize = state.plan.direction == MINIMIZE
    sides = ("worse", "better") if minimize else ("better", "worse")
    parts = [
        f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y(0)}" y2="{y(0)}" stroke="{_INK}" stroke-width="1.2"/>',
        _text(_LEFT + 8, _TOP + 17, f"↑ challenger {sides[0]}", fill=_GREY, size=12, halo=True),
        _text(_LEFT + 8, _BOTTOM - 9, f"↓ challenger {sides[1]}", fill=_GREY, size=12, halo=True),
    ]
    if state.plan.margin:
        bound = state.plan.margin if minimize else -state.plan.margin
        parts += [
            f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y(bound)}" y2="{y(bound)}" stroke="{_INK}" '
            'stroke-dasharray="6 4"/>',
            _text(_RIGHT - 6, y(bound) - 5, f"margin {bound:+g}", anchor="end", size=12, halo=True),
        ]
    return parts


def _evidence(state: RolloutState, looks: Sequence[Look], x: _Scale, y: _Scale) -> list[str]:
    points = [f"{x(look.data_days)},{_near(y(effect))}" for look, effect in _effects(looks)]
    if not points:
        middle = (_LEFT + _RIGHT) / 2
        return [_text(middle, (_TOP + _BOTTOM) / 2 - 12, "No effect could be estimated", anchor="middle", fill=_GREY)]
    parts = ['<g clip-path="url(#plot)">']
    # What was compared in another way is another line: pairs have nothing of the width of a split.
    for _, same in itertools.groupby(looks, key=lambda look: look.kind):
        parts += _line(list(same), x, y)
    if len(points) <= 60:
        for (look, _), point in zip(_effects(looks), points, strict=True):
            left, top = point.split(",")
            units = min((look.units or {}).values(), default=0)
            fill = _LINE if units >= state.plan.min_units else "#ffffff"
            parts.append(f'<circle cx="{left}" cy="{top}" r="3" fill="{fill}" stroke="{_LINE}" stroke-width="1.4"/>')
    parts.append("</g>")
    return parts


def _line(looks: Sequence[Look], x: _Scale, y: _Scale) -> list[str]:
    """The effect and its interval over looks that compared in one way."""
    banded = [look for look in looks if len(look.interval) == 2 and all(map(math.isfinite, look.interval))]
    upper = [f"{x(look.data_days)},{_near(y(look.interval[1]))}" for look in banded]
    lower = [f"{x(look.data_days)},{_near(y(look.interval[0]))}" for look in reversed(banded)]
    points = [f"{x(look.data_days)},{_near(y(effect))}" for look, effect in _effects(looks)]
    parts = []
    if len(banded) > 1:
        parts.append(f'<polygon points="{" ".join([*upper, *lower])}" fill="{_BAND}" fill-opacity="0.6"/>')
        for edge in (upper, lower):
            parts.append(f'<polyline points="{" ".join(edge)}" fill="none" stroke="{_LINE}" stroke-opacity="0.45"/>')
    if points:
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{_LINE}" stroke-width="2"/>')
    return parts


def _decision(state: RolloutState, looks: Sequence[Look], x: _Scale, y: _Scale) -> list[str]:
    """The last interval as a bar in the colour of the end, and what the band means."""
    line = _HEIGHT - 22
    level = state.plan.test_alpha / state.plan.challengers
    covers = f"covers the true difference at all looks together with probability {1 - level:.4g}"
    parts = [
        f'<rect x="{_LEFT}" y="{line - 9}" width="18" height="10" fill="{_BAND}" stroke="{_LINE}" '
        'stroke-opacity="0.45"/>',
        _text(_LEFT + 26, line, covers, fill=_GREY, size=12),
        f'<circle cx="{_RIGHT - 272}" cy="{line - 4}" r="3" fill="#ffffff" stroke="{_LINE}" stroke-width="1.4"/>',
        _text(_RIGHT - 260, line, f"fewer than {state.plan.min_units} units in an arm: undecided", fill=_GREY, size=12),
    ]
    effects = _effects(looks)
    if state.live or not effects:
        return parts
    look, effect = effects[-1]
    colour, at = _COLOUR.get(state.state, _GREY), x(look.data_days)
    if len(look.interval) == 2 and all(map(math.isfinite, look.interval)):
        top, bottom = (min(max(y(bound), _TOP), _BOTTOM) for bound in (look.interval[1], look.interval[0]))
        parts.append(f'<line x1="{at}" x2="{at}" y1="{top}" y2="{bottom}" stroke="{colour}" stroke-width="4"/>')
    parts.append(
        f'<circle cx="{at}" cy="{min(max(y(effect), _TOP), _BOTTOM)}" r="6" fill="{colour}" stroke="#ffffff" '
        'stroke-width="1.5"/>'
    )
    return parts


def _effects(looks: Iterable[Look]) -> list[tuple[Look, float]]:
    return [(look, look.effect) for look in looks if look.effect is not None and math.isfinite(look.effect)]


def _range(state: RolloutState, looks: Sequence[Look]) -> tuple[float, float]:
    """Return the values at the plot's edges: zero, margin, effects, and the intervals of the later half of the looks.

    The first intervals are many times wider than the last; drawn whole they would hide all that came after. The same
    goes for an effect that is three times out.
    """
    shown = _effects(looks)
    later = shown[len(shown) // 2 :]
    values = [0.0, state.plan.margin if state.plan.direction == MINIMIZE else -state.plan.margin]
    for look, effect in later:
        values += [effect, *(bound for bound in look.interval if math.isfinite(bound))]
    reach = 3 * max(map(abs, values))
    values += [effect for _, effect in shown if abs(effect) <= reach]
    low, high = min(values), max(values)
    room = 0.15 * (high - low) or 1.0
    return low - room, high + room


def _thinned(looks: Sequence[Look]) -> list[Look]:
    """Return the looks worth drawing: one for each reading of the data clock, steps and the last one in any case."""
    kept = [
        look
        for look, following in itertools.zip_longest(looks, looks[1:])
        if following is None or look.action == _ADVANCE or following.data_days != look.data_days
    ]
    stride = max(1, math.ceil(len(kept) / _POINTS))
    last = len(kept) - 1
    return [look for i, look in enumerate(kept) if i % stride == 0 or i == last or look.action == _ADVANCE]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) between two values."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _near(pixel: float) -> float:
    """Keep what lies far outside the plot, and is clipped, to numbers that every viewer takes."""
    return min(max(pixel, -2000.0), 3000.0)


def _name(state: RolloutState) -> str:
    champion = (state.champion or {}).get("version", "none")
    compared = [state.candidate] if state.chosen else list(state.challengers.values())
    versions = ", ".join(str(one.get("version")) for one in compared)
    return f"{_shortened(state.model, 40)}: version {_shortened(versions, 20)} against {champion}"


def _result(state: RolloutState) -> str:
    return _WORDS.get(state.state, f"at {state.weight_percent:g} %")


def _shortened(value: str, length: int) -> str:
    return value if len(value) <= length else f"{value[: length - 1]}…"


def _safe(value: str) -> str:
    """Escape text, and drop the characters that XML 1.0 cannot hold."""
    allowed = (c for c in value if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff")
    return escape("".join(allowed))


def _text(
    x: float,
    y: float,
    value: str,
    *,
    anchor: str = "start",
    size: int = 13,
    weight: int = 400,
    fill: str = _INK,
    halo: bool = False,
) -> str:
    around = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{fill}"{around}>{_safe(value)}</text>'
    )
