"""Stage 7, canary: a rollout in words, as Markdown, for the human who has to decide."""

from __future__ import annotations

from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.rollout_state import RolloutState

_KINDS = {"shadow": "every request is scored in shadow", "aa": "the champion is compared with itself"}


def report(state: RolloutState) -> str:
    """Return what a rollout has shown so far: why it is where it is, the effect and its interval, guardrails, acts.

    Names and reasons may come from anybody, so they stand as code: no Markdown in them counts.
    """
    plan, look = state.plan, state.last_look
    champion = str((state.champion or {}).get("version", "none"))
    challenger = ", ".join(str(one.get("version", "")) for one in state.challengers.values())
    lines = [
        f"Version {_code(challenger)} of {_code(state.model)} against version {_code(champion)}, "
        f"rollout {state.epoch} in the namespace {_code(state.namespace)}.",
        "",
        f"- State: {state.state}. {_code(state.reason)}",
        f"- Step {state.step + 1} of {len(plan.steps)}, weights so far: "
        f"{', '.join(f'{weight:g} %' for weight in state.weights) or 'none'}",
        *([f"- Now: {_KINDS[state.kind]}"] if state.kind in _KINDS else []),
    ]
    if look is not None:
        lines += [f"- Looks: {state.looks}, {look.data_days:.1f} of {plan.max_data_days:g} data days"]
        if look.effect is not None:
            interval = f" [{look.interval[0]:+.5g}, {look.interval[1]:+.5g}]" if look.interval else ""
            lines.append(
                f"- {_code(plan.metric)} ({plan.direction}), challenger minus champion: {look.effect:+.5g}{interval}"
            )
        if look.units:
            lines.append(f"- Units: {', '.join(f'{name} {count}' for name, count in sorted(look.units.items()))}")
        if look.crossed and look.crossed[0]:
            lines.append(f"- Units that two arms answered at one weight: {look.crossed[0]} of {look.crossed[1]}")
        for arm in state.seen_arms:
            interval = f" [{arm.interval[0]:+.5g}, {arm.interval[1]:+.5g}]" if len(arm.interval) == 2 else ""
            said = "no effect yet" if arm.effect is None else f"{arm.effect:+.5g}{interval}"
            version = _code(str(state.challengers[arm.arm].get("version", "")))
            lines.append(f"- {_code(arm.arm)} (version {version}): {said}, {'shown' if arm.ready else 'not shown yet'}")
        lines += [f"- {_code(arm)} was stopped: {_code(why)}" for arm, why in sorted(state.stopped.items())]
        for one in look.guardrails:
            verdict = "held" if one.held else "broken" if one.broken else "not shown either way"
            effect = "no effect yet" if one.effect is None else f"{one.effect:+.5g}"
            if one.level is not None:
                effect = f"{one.level:.5g}"
            kind = "Guardrail" if one.decides else "Dry run"
            lines.append(f"- {kind} {_code(one.metric)}: {effect}, {verdict}")
    lines += [f"- {format_time(act.at)} {act.kind} by {_code(act.who)}: {_code(act.why)}" for act in state.acts]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Return text as inline code that cannot end early and stays on one line."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
