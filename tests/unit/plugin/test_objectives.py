"""A sweep of several objectives, of parameters that only some trials have, and with pictures of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.provenance import Provenance, find_handles, task_ref
from airflow_ml.core.space import Choice, LogUniform, When
from airflow_ml.core.sweep import Leaderboard
from airflow_ml.plugin.views.board import Boards
from airflow_ml.plugin.views.chart import sweep_chart
from airflow_ml.plugin.views.objectives import picture
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.progress import ShardReader
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.sweep import _spec, sweep_view
from airflow_ml.plugin.views.trials import Query, trial_page
from airflow_ml.testing.recorded_line import NOW, Line
from airflow_ml.testing.typescript import Types

TYPES = Types(Path(__file__).parents[3] / "airflow_ml/plugin/www/src/api/types.ts")
PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    store = MemoryStore()
    line = Line(store)
    line.record_run("one", began=NOW)
    line.record_run("two", began=NOW + timedelta(days=1), trials=120, also={"leaves": "minimize"})
    line.record_run("open", began=NOW + timedelta(days=2), trials=120, also={"leaves": "minimize"}, collected=False)
    return Shelf(store, "prod", clock=lambda: NOW + timedelta(days=2, hours=1))


def asked(shelf: Shelf, run: str, task: str = "train.plan") -> tuple[Shelf, Boards, str, str, str]:
    return shelf, Boards(ShardReader()), "flights", run, task


@pytest.mark.parametrize("run", ["two", "open"])
def test_the_front_is_of_trials_that_nobody_beats(shelf: Shelf, run: str) -> None:
    page: Any = sweep_view(*asked(shelf, run))
    assert TYPES.problems(page, "SweepView") == []
    assert page["objectives"] == [
        {"metric": "brier", "direction": "minimize"}, {"metric": "leaves", "direction": "minimize"},
    ]  # fmt: skip
    assert len(page["front"]) > 2
    for group in {one["group"] for one in page["front"]}:
        values = [tuple(one["values"]) for one in page["front"] if one["group"] == group]
        assert values == sorted(values), "best first by the one that decides"
        assert [leaves for _, leaves in values] == sorted((leaves for _, leaves in values), reverse=True)


def test_one_objective_has_no_front(shelf: Shelf) -> None:
    page: Any = sweep_view(*asked(shelf, "one"))
    assert page["front"] == []
    rows = trial_page(*asked(shelf, "one"), Query())
    assert {row["front"] for row in rows["trials"]} == {None}
    with pytest.raises(NotHere):
        trial_page(*asked(shelf, "one"), Query(front=True))


def test_the_leaderboard_can_be_cut_to_the_front(shelf: Shelf) -> None:
    page: Any = trial_page(*asked(shelf, "two"), Query(front=True, limit=200))
    assert TYPES.problems(page, "TrialPage") == []
    front = {one["trial"] for one in sweep_view(*asked(shelf, "two"))["front"]}
    assert {row["trial"] for row in page["trials"]} == front
    assert page["total"] == len(front)


def test_a_chart_has_the_further_objectives(shelf: Shelf) -> None:
    chart: Any = sweep_chart(*asked(shelf, "two"), points=50)
    assert TYPES.problems(chart, "SweepChart") == []
    assert [len(one) for one in chart["points"]["also"]] == [50]
    assert sum(chart["points"]["front"]) > 1


def test_a_parameter_that_only_some_trials_have_says_which() -> None:
    spec = _spec("drop", When(LogUniform(0.01, 1), booster=["dart", "gbdt"], deep=True).to_dict())
    assert (spec["distribution"], spec["low"], spec["when"]) == (
        "log_uniform", 0.01, 'booster is "dart" or "gbdt" and deep is true',
    )  # fmt: skip
    assert _spec("booster", Choice("dart", "gbdt").to_dict())["when"] == ""


def test_pictures_that_the_sweep_has_drawn() -> None:
    store = MemoryStore()
    Line(store).record_run("run")
    shelf = Shelf(store, "prod")
    assert sweep_view(*asked(shelf, "run"))["pictures"]["state"] == "absent"

    ref = task_ref("prod", "flights", "run", "train.collect")
    entry = store.latest(ref)
    assert entry is not None
    made = Provenance.from_dict(entry.value)
    board = Leaderboard.from_dict(made.outputs[0].value)  # type: ignore[arg-type]
    drawn = store.put_bytes(PNG, format="png").to_dict()
    report = Line(store).json({"importance": {}, "pictures": {"slices": drawn}})
    outputs = tuple(find_handles("return", replace(board, report=report)))
    store.append(ref, replace(made, outputs=outputs).to_dict(), after=entry.sequence)

    assert sweep_view(*asked(shelf, "run"))["pictures"] == {"state": "present", "value": ["slices"]}
    assert picture(shelf, "flights", "run", "train.collect", "slices") == PNG
    with pytest.raises(NotHere):
        picture(shelf, "flights", "run", "train.collect", "importance")
