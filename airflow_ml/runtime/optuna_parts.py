"""Samplers and pruners of Optuna as plain data: the name of the class and its options, without pickle.

An object is read by the values that it holds for the arguments of its class, and what was read is proven by building
another one and comparing the two.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, cast

from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.record import JSON
from airflow_ml.core.sampler import LEARNING, NEEDED, in_sequence, optuna_class
from airflow_ml.errors import InvalidSpace, MissingDependency, NotPortable

#: Where Optuna keeps classes that are options of others.
_HOMES = ("optuna.samplers", "optuna.pruners", "optuna.samplers.nsgaii")
_ABSENT = object()


def require_optuna(sampler: str, pruner: str | None) -> None:
    """Refuse a sampler or pruner whose packages are not installed, or that Optuna does not have.

    Raises:
        MissingDependency: Optuna, or what this sampler needs besides, is not installed.
        InvalidSpace: Optuna has no such class.
    """
    if not in_sequence(sampler, pruner):
        return
    what = f"sampler {sampler!r}" if sampler in LEARNING else f"pruner {pruner!r}"
    if find_spec("optuna") is None:
        raise MissingDependency(f"The {what} needs a package", "optuna", "Install airflow-ml[optuna].")
    package = NEEDED.get(optuna_class(sampler))
    if package is not None and find_spec(package) is None:
        raise MissingDependency(f"The {what} needs a package", package, f"Install {package}.")
    for name in (sampler, pruner):
        if name is not None and name == optuna_class(name) and name[0].isupper():
            _class(name)


def build(name: str, options: Mapping[str, Any], *, seed: int | None = None) -> Any:
    """Return a sampler, pruner or part of one.

    Args:
        name: Of the class, or the short name of a sampler or pruner.
        options: Its arguments; one that is ``{"optuna": ..., "options": ...}`` is built, too.
        seed: Given to a class that takes one.

    Raises:
        InvalidSpace: Optuna has no such class, or it refuses the options.
    """
    made = _class(optuna_class(name))
    given = {key: _built(value, seed) for key, value in options.items()}
    if seed is not None and "seed" in inspect.signature(made.__init__).parameters:
        given["seed"] = seed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a class is experimental, for each trial
            return made(**given)
    except (TypeError, ValueError) as error:
        raise InvalidSpace(f"Optuna's {made.__name__} refuses its options", str(error)[:300], "Fix them.") from error


def describe(part: Any) -> dict[str, JSON]:
    """Return a sampler's or pruner's ``{"optuna": <class>, "options": {...}}``; its seed is not part of it, since the
    sweep's seed rules.

    Raises:
        NotPortable: it is not a class of Optuna's own, or holds something other than plain values.
    """
    kind = type(part)
    if not kind.__module__.startswith("optuna.") or _find(kind.__name__) is not kind:
        raise NotPortable(
            "Only samplers and pruners of Optuna itself can run in a sweep", kind.__qualname__, "Name one of Optuna's."
        )
    options: dict[str, JSON] = {}
    plain: Any = None
    with contextlib.suppress(TypeError):  # a class with an argument that must be given has no plain form
        plain = kind()
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        value = _held(part, name)
        if name == "seed" or value is _ABSENT:
            continue
        usual = parameter.default if plain is None else _held(plain, name)
        if _state(value) != _state(usual):
            with contextlib.suppress(NotPortable, TypeError, ValueError):
                options[name] = _plain(value)
    if _state(build(kind.__name__, options)) != _state(part):
        raise NotPortable(
            f"Not all options of this {kind.__name__} can be read from the object",
            repr(options),
            f'Write it as {{"optuna": "{kind.__name__}", "options": {{...}}}}.',
        )
    return {"optuna": kind.__name__, "options": options}


def _built(value: Any, seed: int | None) -> Any:
    if isinstance(value, Mapping) and "optuna" in value:
        return build(str(value["optuna"]), value.get("options") or {}, seed=seed)
    return value


def _plain(value: Any) -> JSON:
    if type(value).__module__.startswith("optuna."):
        return cast(JSON, describe(value))
    canonical_json(value)
    return cast(JSON, value)


def _class(name: str) -> Any:
    found = _find(name)
    if found is None or not inspect.isclass(found) or inspect.isabstract(found):
        raise InvalidSpace("Optuna has no such class", name, "See optuna.samplers and optuna.pruners.")
    return found


def _find(name: str) -> Any:
    for home in _HOMES:
        found = getattr(importlib.import_module(home), name, None)
        if found is not None:
            return found
    return None


def _held(part: Any, name: str, depth: int = 0) -> Any:
    """Return what an object, or a part of it, keeps for an argument."""
    own = dict(_attributes(part))
    for key in (f"_{name}", name):
        if key in own:
            return own[key]
    for value in own.values() if depth < 2 else ():
        if type(value).__module__.startswith("optuna."):
            found = _held(value, name, depth + 1)
            if found is not _ABSENT:
                return found
    return _ABSENT


def _state(part: Any) -> Any:
    """Return all that an object holds as plain values, but for its random generators."""
    if isinstance(part, Mapping):
        return {key: _state(value) for key, value in part.items()}
    if isinstance(part, list | tuple) and not hasattr(part, "_fields"):
        return [_state(value) for value in part]
    if callable(part):
        return f"{part.__module__}.{getattr(part, '__qualname__', type(part).__qualname__)}"
    if type(part).__module__.startswith("optuna."):
        held = {key: _state(value) for key, value in _attributes(part) if "rng" not in key and key != "_seed"}
        return [type(part).__qualname__, held]
    return part if part is None or isinstance(part, bool | int | float | str) else repr(part)


def _attributes(part: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(part, "_asdict"):
        yield from part._asdict().items()
    elif hasattr(part, "__dict__"):
        yield from vars(part).items()
