"""The one definition of features, used by training, batch scoring and online serving alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.feature_inputs import (
    PREDICT_AT,
    AsOf,
    Input,
    Join,
    Label,
    Lookup,
    Rolling,
    join_from_dict,
    join_to_dict,
)
from airflow_ml.core.feature_names import column_name, column_names
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError, FeatureKnownTooLate, NotARecord, RecordTooNew

__all__ = ["PREDICT_AT", "SPLIT", "AsOf", "FeatureView", "Input", "Label", "Lookup", "Rolling"]

#: The column of a feature set that says to which split a row belongs.
SPLIT = "split"

_SCHEMA = 1


@dataclass(frozen=True, slots=True, init=False)
class FeatureView:
    """Which features a row of a spine has, each as it was known at the row's ``predict_at``.

    A spine is a table with one row for each prediction. Features are an allow-list: what is not named here does not
    reach a model. A view is a plain value: two views with the same definition are equal and have the same ``digest``.

    Args:
        name: Name of the view, lower case.
        key: Column of the spine that names a row; ``(key, predict_at)`` is unique.
        predict_at: Timestamp column of the spine: the moment of prediction.
        label: What is predicted, and when it is known.
        inputs: Columns of the spine that are features; a string means ``Input(name)``, known at ``predict_at``.
        joins: ``AsOf``, ``Lookup`` and ``Rolling`` over other tables.
        carry: Columns of the spine to keep beside the features (the randomization unit, slices), hidden from models.

    Raises:
        FeatureKnownTooLate: an input is the label, or is known only when the label is.
        ConfigurationError: two columns of the result would have the same name, or there is no feature at all.
    """

    name: str
    key: str
    predict_at: str
    label: Label
    inputs: tuple[Input, ...]
    joins: tuple[Join, ...]
    carry: tuple[str, ...]

    def __init__(
        self,
        name: str,
        *,
        key: str,
        predict_at: str,
        label: Label,
        inputs: Sequence[str | Input] = (),
        joins: Sequence[Join] = (),
        carry: Sequence[str] = (),
    ) -> None:
        if isinstance(inputs, str):  # else each of its letters would be a column
            raise ConfigurationError("inputs is text, not a list", repr(inputs), f"Write inputs=[{inputs!r}].")
        values: dict[str, object] = {
            "name": column_name(name, "a feature view"),
            "key": column_name(key, "the key"),
            "predict_at": column_name(predict_at, "predict_at"),
            "label": label,
            "inputs": tuple(_input(item, predict_at) for item in inputs),
            "joins": tuple(joins),
            "carry": column_names(carry, "carry") if carry else (),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)
        _check(self)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in their order: inputs, then joins as declared."""
        joined = (name for join in self.joins for name, _ in join.features)
        return (*(item.name for item in self.inputs), *joined)

    @property
    def sources(self) -> tuple[str, ...]:
        """The tables that the joins read, each once."""
        return tuple(dict.fromkeys(join.table for join in self.joins))

    @property
    def by_columns(self) -> tuple[str, ...]:
        """The spine's columns that joins match on, each once."""
        return tuple(dict.fromkeys(column for join in self.joins for column in join.by))

    @property
    def spine_columns(self) -> tuple[str, ...]:
        """Every column of the spine that a training build reads, each once."""
        known = (item.known_at for item in self.inputs if item.known_at != PREDICT_AT)
        inputs = (item.name for item in self.inputs)
        label = (self.label.name, self.label.known_at)
        return tuple(dict.fromkeys((self.key, self.predict_at, *label, *self.carry, *inputs, *known, *self.by_columns)))

    def source_columns(self, table: str) -> tuple[str, ...]:
        """Return every column that the joins read from a table, each once."""
        joins = (join for join in self.joins if join.table == table)
        return tuple(dict.fromkeys(column for join in joins for column in join.source_columns))

    @property
    def digest(self) -> str:
        """The identity of the definition; serving refuses a model that was trained on another one."""
        return digest_json(self.to_dict())

    def to_dict(self) -> dict[str, JSON]:
        """Return the definition as JSON."""
        return {
            "name": self.name,
            "schema": _SCHEMA,
            "key": self.key,
            "predict_at": self.predict_at,
            "label": {"name": self.label.name, "known_at": self.label.known_at},
            "inputs": [{"name": item.name, "known_at": item.known_at} for item in self.inputs],
            "joins": [join_to_dict(join) for join in self.joins],
            "carry": list(self.carry),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FeatureView:
        """Read a definition back.

        Raises:
            NotARecord: if the value is something else.
            RecordTooNew: if a newer airflow_ml wrote it.
        """
        if isinstance(data.get("schema"), int) and data["schema"] > _SCHEMA:
            raise RecordTooNew(
                f"The feature view has schema {data['schema']}, this airflow_ml reads {_SCHEMA}",
                "",
                "Upgrade airflow-ml here to the version that wrote it.",
            )
        try:
            return cls(
                data["name"],
                key=data["key"],
                predict_at=data["predict_at"],
                label=Label(**data["label"]),
                inputs=[Input(**item) for item in data["inputs"]],
                joins=[join_from_dict(item) for item in data["joins"]],
                carry=data["carry"],
            )
        except (KeyError, TypeError) as error:
            raise NotARecord(
                "Not a feature view", f"{type(error).__name__} {error}", "Pass what FeatureView.to_dict() returns."
            ) from error


def _input(item: str | Input, predict_at: str) -> Input:
    if isinstance(item, str):
        return Input(item)
    if not isinstance(item, Input):
        raise ConfigurationError("Not an input", repr(item)[:160], "Give a column's name or Input(name, known_at=...).")
    # The view's own predict_at column and the word "predict_at" are the same promise.
    return Input(item.name) if item.known_at == predict_at else item


def _check(view: FeatureView) -> None:
    if not isinstance(view.label, Label):
        raise ConfigurationError("Not a label", repr(view.label)[:160], 'Give Label("late", known_at="landed_at").')
    for join in view.joins:
        if not isinstance(join, AsOf | Lookup | Rolling):
            raise ConfigurationError("Not a join", repr(join)[:160], "Give AsOf, Lookup or Rolling.")
    if view.label.known_at in (view.predict_at, PREDICT_AT):
        raise ConfigurationError(
            "The label is known at the moment of prediction",
            f"known_at={view.label.known_at!r}",
            "Name the column that says when the outcome became known.",
        )
    for item in view.inputs:
        _check_input(view, item)
    for join in view.joins:
        _check_join(view, join)
    _check_names(view)


def _check_input(view: FeatureView, item: Input) -> None:
    label = view.label
    if item.name in (label.name, label.known_at):
        raise FeatureKnownTooLate(
            f"The view {view.name} uses its label as an input",
            item.name,
            "Drop it from inputs; carry it if you need it.",
        )
    if item.known_at == label.known_at:
        raise FeatureKnownTooLate(
            f"The input {item.name} is known only when the label is",
            f"known_at={item.known_at!r}",
            "Drop the column, or roll it up over past rows with Rolling.",
        )


def _check_join(view: FeatureView, join: Join) -> None:
    label = view.label
    late = [column for column in join.by if column in (label.name, label.known_at)]
    if late:
        raise FeatureKnownTooLate(
            f"The join with {join.table} matches on the label", late[0], "Match on columns known at predict_at."
        )
    columns = [column for _, column in join.features]
    if isinstance(join, Lookup) and (label.name in columns or label.known_at in columns):
        raise FeatureKnownTooLate(
            f"Lookup({join.table!r}) calls the label static",
            label.name if label.name in columns else label.known_at,
            f"Use Rolling or AsOf, with known_at or time {label.known_at!r}.",
        )
    when = join.known_at if isinstance(join, Rolling) else join.time if isinstance(join, AsOf) else label.known_at
    if label.name in columns and when != label.known_at:
        raise FeatureKnownTooLate(
            f"The join with {join.table} says that {label.name} is known at {when}, the label says {label.known_at}",
            label.name,
            f"Use {label.known_at!r} there too, or give another table's column another name.",
        )


def _check_names(view: FeatureView) -> None:
    if not view.features:
        raise ConfigurationError(f"The view {view.name} has no features", "", "Name columns in inputs or joins.")
    counts = Counter((view.key, view.predict_at, view.label.name, SPLIT, *view.carry, *view.features))
    twice = [name for name, number in counts.items() if number > 1]
    if twice:
        raise ConfigurationError(
            f"The view {view.name} has two columns of the same name",
            twice[0],
            "Give a join a prefix or a name, or leave a feature out of carry (features are kept anyway).",
        )
