"""One trial's view of its group's Optuna study, made anew in the worker out of the trials before it.

So a trial's parameters are a pure function of the sweep's seed, its position and those trials: the same after a kill,
in any worker, without a database. Optuna is imported here and nowhere else.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, cast

from airflow_ml.core.fingerprint import seed_of
from airflow_ml.core.record import JSON
from airflow_ml.core.sampler import LEARNING, PRUNERS, in_sequence
from airflow_ml.core.space import Choice, Distribution, IntUniform, LogIntUniform, LogUniform, Space, parse_space
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import PRUNED, SUCCEEDED, PlannedTrial
from airflow_ml.errors import ConfigurationError, MissingDependency

#: Samplers whose points are one sequence: all trials of a group share its seed.
_ONE_SEQUENCE = frozenset({"qmc"})
#: Keys of ``notes``: what Optuna keeps with the trial and with the study.
_TRIAL, _STUDY = "trial", "study"


def require_optuna(sampler: str, pruner: str | None) -> None:
    """Refuse a sampler or pruner whose packages are not installed, without importing them.

    Raises:
        MissingDependency: Optuna, or what this sampler needs besides, is not installed.
    """
    if not in_sequence(sampler, pruner):
        return
    what = f"sampler {sampler!r}" if sampler in LEARNING else f"pruner {pruner!r}"
    if find_spec("optuna") is None:
        raise MissingDependency(f"The {what} needs a package", "optuna", "Install airflow-ml[optuna].")
    package = LEARNING[sampler][1] if sampler in LEARNING else None
    if package is not None and find_spec(package) is None:
        raise MissingDependency(f"The {what} needs a package", package, f"Install {package}.")


class StudyTrial:
    """A trial that Optuna chose, and its reports.

    Args:
        plan: The sweep.
        planned: The trial; its ``params`` are fixed, the others are chosen.
        history: The trials of its group before it, in order, as `history_line` has them.
    """

    def __init__(self, plan: SweepPlan, planned: PlannedTrial, history: Sequence[Mapping[str, Any]]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self._space = parse_space(plan.space)
        found = {name: _distribution(item) for name, item in self._space.items()}
        position = str(0 if plan.sampler in _ONE_SEQUENCE else len(history))
        seed = seed_of("sampler", str(plan.seed), planned.group, position)
        study = optuna.create_study(
            # Hyperband puts a trial into a bracket by the study's name.
            study_name=f"{plan.sweep} {planned.group}",
            direction=plan.direction,
            sampler=getattr(
                optuna.samplers, LEARNING[plan.sampler][0] if plan.sampler in LEARNING else "RandomSampler"
            )(seed=seed),
            pruner=getattr(optuna.pruners, PRUNERS[plan.pruner])() if plan.pruner else optuna.pruners.NopPruner(),
        )
        for line in history:
            study.add_trial(_frozen(line, self._space, found))
            for name, value in line["notes"].get(_STUDY, {}).items():
                study._storage.set_study_system_attr(study._study_id, name, value)
        if planned.params:
            study.enqueue_trial(_coded(planned.params, self._space))
        self._study = study
        self._trial = study.ask(fixed_distributions=found)
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
        # Enqueued parameters are in ``params``; everything that is no JSON would be lost on the way.
        read: dict[str, JSON] = json.loads(json.dumps({name: value for name, value in notes.items() if value}))
        return read

    def report(self, step: float, value: float) -> None:
        """Tell the pruner a value; of two at one step the first counts.

        Raises:
            ConfigurationError: a step that is no whole number from 0 on.
        """
        if step < 0 or step != int(step):
            raise ConfigurationError("A pruner counts steps", f"step={step!r}", "Report whole numbers from 0 on.")
        if int(step) not in self._reported:
            self._reported.add(int(step))
            self._trial.report(value, int(step))

    def should_prune(self) -> bool:
        """Whether the pruner sees no hope."""
        return bool(self._trial.should_prune())


def history_line(result: Mapping[str, Any], metric: str) -> dict[str, JSON]:
    """Return what later trials of the group need of a result's committed form."""
    return {
        "status": result["status"],
        "params": result.get("params", {}),
        "value": result.get("metrics", {}).get(metric),
        "reports": result.get("reports", []),
        "notes": result.get("notes", {}),
    }


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
    return create_trial(
        state=state,
        params=_coded(known, space),
        distributions={name: distributions[name] for name in known},
        value={TrialState.COMPLETE: line["value"], TrialState.PRUNED: last}.get(state),
        intermediate_values=reports,
        system_attrs=dict(line["notes"].get(_TRIAL, {})),
    )


def _distribution(item: Distribution) -> Any:
    from optuna import distributions as optuna

    if isinstance(item, Choice):
        return optuna.CategoricalDistribution(tuple(range(len(item.values))))
    if isinstance(item, IntUniform):
        return optuna.IntDistribution(item.low, item.high, log=isinstance(item, LogIntUniform))
    return optuna.FloatDistribution(item.low, item.high, log=isinstance(item, LogUniform))  # type: ignore[attr-defined]


def _coded(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return parameters as Optuna has them: of a Choice the position, since its values may be lists or mappings."""
    return {name: _position(space[name], value) for name, value in params.items()}


def _position(item: Distribution, value: Any) -> Any:
    if not isinstance(item, Choice):
        return value
    return next(index for index, own in enumerate(item.values) if type(own) is type(value) and own == value)


def _decoded(item: Distribution, value: Any) -> JSON:
    if isinstance(item, Choice):
        return item.values[int(value)]
    return cast(JSON, value)
