from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.feature_view import AsOf, FeatureView, Input, Label, Lookup, Rolling
from airflow_ml.errors import AirflowMLError, ConfigurationError, FeatureKnownTooLate, NotARecord, RecordTooNew


def view(**changes: Any) -> FeatureView:
    arguments: dict[str, Any] = {
        "key": "flight_id",
        "predict_at": "predict_at",
        "label": Label("late", known_at="landed_at"),
        "inputs": ["carrier", "origin", "dest"],
        "joins": [
            AsOf("weather", by="origin", time="observed_at", delay="20min", max_age="3h", columns=["temp", "visib"]),
            Lookup("planes", by="tailnum", static=True, columns="seats", prefix="plane_"),
            Rolling("flights", by=("origin", "dest"), mean="late", known_at="landed_at", window="7d"),
            Rolling("flights", by="origin", count=True, known_at="landed_at", window="36h"),
        ],
        "carry": ["tailnum"],
        **changes,
    }
    return FeatureView("flight_delays", **arguments)


def test_names_are_known_without_data() -> None:
    assert view().features == (
        "carrier",
        "origin",
        "dest",
        "temp",
        "visib",
        "plane_seats",
        "late_mean_7d_by_origin_dest",
        "flights_count_36h_by_origin",
    )
    assert view().sources == ("weather", "planes", "flights")
    assert view().source_columns("flights") == ("origin", "dest", "landed_at", "late")
    assert view().spine_columns == (
        "flight_id",
        "predict_at",
        "late",
        "landed_at",
        "tailnum",
        "carrier",
        "origin",
        "dest",
    )


def test_a_view_survives_json_and_keeps_its_digest() -> None:
    again = FeatureView.from_dict(json.loads(json.dumps(view().to_dict())))
    assert again == view()
    assert hash(again) == hash(view())
    assert again.digest == view().digest


def test_the_digest_is_the_definition() -> None:
    variants = [
        view(),
        view(inputs=["carrier", "dest", "origin"]),
        view(inputs=["carrier", "origin", Input("dest", known_at="dest_set_at")]),
        view(carry=[]),
        view(label=Label("late", known_at="arrived_at"), joins=[]),
        view(joins=view().joins[:-1]),
    ]
    assert len({variant.digest for variant in variants}) == len(variants)


def test_the_views_own_column_is_the_same_promise() -> None:
    one = view(predict_at="scored_at", inputs=["carrier", Input("origin", known_at="scored_at"), "dest"])
    assert one == view(predict_at="scored_at")


def test_a_view_is_frozen() -> None:
    with pytest.raises(AttributeError):
        view().key = "other"  # type: ignore[misc]


ROLLING: dict[str, Any] = {"by": "origin", "known_at": "landed_at", "window": "7d"}
ASOF: dict[str, Any] = {"by": "origin", "time": "seen_at", "delay": "1min", "max_age": "3h", "columns": ["temp"]}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: view(inputs=["late"]), FeatureKnownTooLate, "late"),
        (lambda: view(inputs=["landed_at"]), FeatureKnownTooLate, "landed_at"),
        (lambda: view(inputs=[Input("arr_delay", known_at="landed_at")]), FeatureKnownTooLate, "Rolling"),
        (lambda: view(joins=[Lookup("planes", by="tailnum", columns=["seats"])]), FeatureKnownTooLate, "static=True"),
        (
            lambda: view(joins=[Lookup("flights", by="flight_id", static=True, columns=["late"])]),
            FeatureKnownTooLate,
            "landed_at",
        ),
        (
            lambda: view(joins=[Rolling("flights", by="origin", mean="late", window="7d")]),
            FeatureKnownTooLate,
            "known_at",
        ),
        (
            lambda: view(joins=[Rolling("flights", **{**ROLLING, "known_at": "departed_at"}, mean="late")]),
            FeatureKnownTooLate,
            "landed_at",
        ),
        (
            lambda: view(joins=[AsOf("flights", **{**ASOF, "columns": ["late"]}, prefix="last_")]),
            FeatureKnownTooLate,
            "landed_at",
        ),
        (lambda: view(joins=[Lookup("x", by="late", static=True, columns=["a"])]), FeatureKnownTooLate, "late"),
        (lambda: view(label=Label("late", known_at="predict_at")), ConfigurationError, "moment of prediction"),
        (lambda: view(inputs=["carrier", "carrier"]), ConfigurationError, "carrier"),
        (lambda: view(carry=["origin"]), ConfigurationError, "origin"),
        (lambda: view(inputs=["split"]), ConfigurationError, "split"),
        (lambda: view(inputs=["flight_id"]), ConfigurationError, "flight_id"),
        (lambda: view(inputs=[], joins=[]), ConfigurationError, "no features"),
        (lambda: view(inputs=["Carrier"]), ConfigurationError, "lower-case"),
        (lambda: view(inputs=['a"b']), ConfigurationError, "lower-case"),
        (lambda: view(inputs=["__at"]), ConfigurationError, "__at"),
        (lambda: view(inputs=[3]), ConfigurationError, "3"),
        (lambda: view(joins=["weather"]), ConfigurationError, "AsOf"),
        (lambda: view(label="late"), ConfigurationError, "Label"),
        (lambda: view(joins=[AsOf("w", **ASOF), AsOf("v", **ASOF)]), ConfigurationError, "prefix"),
        (lambda: AsOf("w", **{**ASOF, "columns": []}), ConfigurationError, "allow-list"),
        (lambda: AsOf("w", **{**ASOF, "columns": ["a", "a"]}), ConfigurationError, "twice"),
        (lambda: AsOf("w", **{**ASOF, "delay": "soon"}), ConfigurationError, "soon"),
        (lambda: AsOf("w", **{**ASOF, "max_age": "0s"}), ConfigurationError, "max_age"),
        (lambda: AsOf("w", **{**ASOF, "delay": "4h"}), ConfigurationError, "max_age"),
        (lambda: AsOf("w; drop", **ASOF), ConfigurationError, "table"),
        (lambda: Rolling("flights", **ROLLING), ConfigurationError, "exactly one"),
        (lambda: Rolling("flights", **ROLLING, mean="late", count=True), ConfigurationError, "exactly one"),
        (lambda: Rolling("flights", **{**ROLLING, "window": "0d"}, count=True), ConfigurationError, "window"),
        (lambda: FeatureView.from_dict({"name": "x"}), NotARecord, "key"),
        (lambda: FeatureView.from_dict({**view().to_dict(), "schema": 99}), RecordTooNew, "99"),
        (lambda: FeatureView.from_dict({**view().to_dict(), "joins": [{"kind": "cross"}]}), NotARecord, "cross"),
        (lambda: FeatureView.from_dict({**view().to_dict(), "joins": [{"kind": "lookup"}]}), NotARecord, "Lookup"),
    ],
)
def test_what_cannot_work_is_refused_when_declared(
    make: Callable[[], object], error: type[AirflowMLError], words: str
) -> None:
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)
    assert caught.value.remedy or error is NotARecord


names = st.from_regex(r"[a-z][a-z0-9_]{0,12}|_[a-z0-9]{1,5}", fullmatch=True)


@given(st.lists(names, min_size=1, max_size=6, unique=True))
def test_any_allow_list_round_trips(columns: list[str]) -> None:
    taken = {"flight_id", "predict_at", "late", "landed_at", "split"}
    columns = [name for name in columns if name not in taken] or ["a"]
    one = view(inputs=columns, joins=[], carry=[])
    assert one.features == tuple(columns)
    assert FeatureView.from_dict(one.to_dict()) == one


def test_inputs_is_no_text() -> None:
    with pytest.raises(ConfigurationError, match=r"inputs is text.*\['carrier'\]"):
        FeatureView("v", key="k", predict_at="t", label=Label("y", known_at="u"), inputs="carrier")
