"""One trial's view of its group's Optuna study, rebuilt in the worker from the trials before it.

So a trial's parameters are a pure function of the sweep's seed, its position and those trials: the same after a kill,
in any worker, without a database. Optuna is imported here and nowhere else.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from airflow_ml.core.fingerprint import seed_of
from airflow_ml.core.record import JSON
from airflow_ml.core.sampler import PLANNED
from airflow_ml.core.space import (
    Choice,
    Distribution,
    IntUniform,
    LogIntUniform,
    LogUniform,
    Space,
    When,
    dependence_order,
    parse_space,
)
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import PRUNED, SUCCEEDED, PlannedTrial
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.optuna_parts import build

#: Samplers whose points are one sequence: all trials of a group share its seed.
_ONE_SEQUENCE = frozenset({"QMCSampler"})
#: Keys of ``notes``: what Optuna keeps with the trial and with the study.
_TRIAL, _STUDY = "trial", "study"


class StudyTrial:
    """A trial that Optuna chose, and its reports.

    Args:
        plan: The sweep.
        planned: The trial; its ``params`` are fixed, the others are chosen.
        history: The trials of its group that it may learn from, in order, as `history_line` has them.
        position: Of the trial in its group; default behind the history, where no batches are run.
    """

    def __init__(
        self,
        plan: SweepPlan,
        planned: PlannedTrial,
        history: Sequence[Mapping[str, Any]],
        position: int | None = None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self._space = parse_space(plan.space)
        found = {name: _distribution(item) for name, item in self._space.items()}
        number = len(history) if position is None else position
        place = str(0 if plan.sampler in _ONE_SEQUENCE else number)
        seed = seed_of("sampler", str(plan.seed), planned.group, place)
        sampler = "RandomSampler" if plan.sampler in PLANNED else plan.sampler
        self._several = len(plan.objectives) > 1
        study = optuna.create_study(
            # Hyperband puts a trial into a bracket by the study's name.
            study_name=f"{plan.sweep} {planned.group}",
            directions=list(plan.objectives.values()),
            sampler=build(sampler, plan.sampler_options, seed=seed),
            pruner=build(plan.pruner, plan.pruner_options) if plan.pruner else optuna.pruners.NopPruner(),
        )
        for line in history:
            study.add_trial(_frozen(line, self._space, found))
            for name, value in line["notes"].get(_STUDY, {}).items():
                study._storage.set_study_system_attr(study._study_id, name, value)
        if planned.params:
            study.enqueue_trial(_coded(planned.params, self._space))
        self._study = study
        self._trial = _ask(study, self._space, found)
        self._reported: set[int] = set()

    @property
    def params(self) -> dict[str, JSON]:
        """The parameters, as the user's function gets them."""
        return {name: _decoded(self._space[name], value) for name, value in sorted(self._trial.params.items())}

    @property
    def notes(self) -> dict[str, JSON]:
        """What the trials after this one must know of it besides its result: JSON that `history_line` carries."""
        storage = self._study._storage
        notes = {
            _TRIAL: storage.get_trial(self._trial._trial_id).system_attrs,
            _STUDY: storage.get_study_system_attrs(self._study._study_id),
        }
        # Enqueued parameters are in ``params``; everything that is not JSON would be lost on the way.
        read: dict[str, JSON] = json.loads(json.dumps({name: value for name, value in notes.items() if value}))
        return read

    def report(self, step: float, value: float) -> None:
        """Tell the pruner a value; of two at one step the first counts.

        Raises:
            ConfigurationError: a step that is not a whole number from 0 on.
        """
        if step < 0 or step != int(step):
            raise ConfigurationError("A pruner counts steps", f"step={step!r}", "Report whole numbers from 0 on.")
        if int(step) not in self._reported:
            self._reported.add(int(step))
            self._trial.report(value, int(step))

    def should_prune(self) -> bool:
        """Whether the pruner sees no hope; with several objectives Optuna has no pruning, and it never does."""
        return not self._several and bool(self._trial.should_prune())


def history_line(result: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, JSON]:
    """Return what later trials of the group need of a result's committed form.

    Args:
        result: The result.
        metrics: The sweep's objectives.
    """
    found = result.get("metrics", {})
    return {
        "status": result["status"],
        "params": result.get("params", {}),
        "values": [found.get(metric) for metric in metrics],
        "reports": result.get("reports", []),
        "notes": result.get("notes", {}),
    }


def _ask(study: Any, space: Space, distributions: Mapping[str, Any]) -> Any:
    """Return a new trial of the study, with every parameter that exists."""
    if not any(isinstance(item, When) for item in space.values()):
        return study.ask(fixed_distributions=dict(distributions))
    trial = study.ask()
    chosen: dict[str, JSON] = {}
    for name in dependence_order(space):
        item = space[name]
        if isinstance(item, When) and not item.holds(chosen):
            continue
        chosen[name] = _decoded(item, trial._suggest(name, distributions[name]))
    return trial


def _frozen(line: Mapping[str, Any], space: Space, distributions: Mapping[str, Any]) -> Any:
    from optuna.trial import TrialState, create_trial

    states = {SUCCEEDED: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}
    state = states.get(line["status"], TrialState.FAIL)
    reports: dict[int, float] = {}
    for step, value in line["reports"]:
        if step >= 0 and step == int(step):
            reports.setdefault(int(step), value)
    last = reports[max(reports)] if reports else None
    # A process that died before it could say what it was given leaves no parameters: failures teach nothing anyway.
    known = line["params"]
    values = line["values"]
    return create_trial(
        state=state,
        params=_coded(known, space),
        distributions={name: distributions[name] for name in known},
        value={TrialState.COMPLETE: values[0], TrialState.PRUNED: last}.get(state) if len(values) == 1 else None,
        values=values if len(values) > 1 and state == TrialState.COMPLETE else None,
        intermediate_values=reports,
        system_attrs=dict(line["notes"].get(_TRIAL, {})),
    )


def distributions_of(
    space: Space | None, points: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return Optuna's distributions for pictures of trials, and the points as Optuna has them.

    A Choice keeps its values, as text; without a space, numbers span what was tried, and all else is a choice.
    """
    from optuna import distributions as optuna

    found: dict[str, Any] = {}
    for name in sorted({name for point in points for name in point}):
        item = _bare(space[name]) if space is not None and name in space else None
        tried = [point[name] for point in points if name in point]
        if item is not None and not isinstance(item, Choice):
            found[name] = _distribution(item)
        elif item is None and all(type(value) in (int, float) for value in tried) and min(tried) < max(tried):
            found[name] = optuna.FloatDistribution(min(tried), max(tried))
        else:
            values = item.values if isinstance(item, Choice) else tried
            found[name] = optuna.CategoricalDistribution(tuple(dict.fromkeys(_text(value) for value in values)))
    texts = {name for name, item in found.items() if isinstance(item, optuna.CategoricalDistribution)}
    coded = [{name: _text(value) if name in texts else value for name, value in point.items()} for point in points]
    return found, coded


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _distribution(item: Distribution) -> Any:
    from optuna import distributions as optuna

    item = _bare(item)
    if isinstance(item, Choice):
        return optuna.CategoricalDistribution(tuple(range(len(item.values))))
    if isinstance(item, IntUniform):
        return optuna.IntDistribution(item.low, item.high, log=isinstance(item, LogIntUniform))
    return optuna.FloatDistribution(item.low, item.high, log=isinstance(item, LogUniform))  # type: ignore[attr-defined]


def _coded(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return parameters as Optuna has them: of a Choice the position, since its values may be lists or mappings."""
    return {name: _position(space[name], value) for name, value in params.items()}


def _position(item: Distribution, value: Any) -> Any:
    item = _bare(item)
    if not isinstance(item, Choice):
        return value
    return next(index for index, own in enumerate(item.values) if type(own) is type(value) and own == value)


def _bare(item: Distribution) -> Distribution:
    return item.of if isinstance(item, When) else item


def _decoded(item: Distribution, value: Any) -> JSON:
    item = _bare(item)
    if isinstance(item, Choice):
        return item.values[int(value)]
    return cast(JSON, value)
