"""The pages' API: who may ask what. Routes are found by walking the application, so a new one cannot be forgotten."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.operators.approval import Answer, answer_of
from airflow_ml.plugin.bundle import BUNDLE
from airflow_ml.plugin.web.guard import SECURITY_HEADERS
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.testing.pages import PREFIX, Pages, serve_pages
from airflow_ml.testing.recorded_line import Line

#: What users write, and what must never be more than text.
HOSTILE = "<img src=x onerror=alert(1)>\"';--\u202e\u2028 javascript:alert(1) {{7*7}} \U0001f680"
ANN, BOB = "ann_flights", "bob_flights"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    store = FolderStore(tmp_path_factory.mktemp("pages") / "store")
    for dag in (ANN, BOB):
        line = Line(store, dag=dag, words=HOSTILE)
        line.record_run("one")
        line.record_watch("watch", "1")
        line.record_rollout("canary", end=False, looks=3)
    return store


@pytest.fixture(scope="module")
def pages(store: FolderStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with serve_pages(store.uri, [ANN, BOB], tmp_path_factory.mktemp("auth")) as found:
        yield found


QUERY = {"run_id": "one", "with_run_id": "one", "task_id": "train.collect", "trial": "t00000", "version": "1",
         "digest": f"sha256:{'0' * 64}", "name": "slices"}  # fmt: skip
ACTION = {"action": "hold", "reason": "looks odd to me", "epoch": 1}


def routes(app: Any) -> list[tuple[str, str]]:
    """Return method and path of everything that the application answers."""
    found = []
    for route in app.routes:
        assert isinstance(route, APIRoute), f"{route} is no route of ours: a mount or a document has no permission"
        assert not isinstance(route, Mount)
        names = {"dag_id": BOB, "model": f"{BOB}_model", "name": f"{BOB}_rows"}
        names["name"] = BUNDLE if route.path.startswith("/static") else names["name"]
        found += [(method, route.path.format(**names)) for method in sorted(route.methods)]
    return found


def ask(pages: Pages, method: str, path: str, headers: dict[str, str], **more: Any) -> Any:
    body = {"content": json.dumps(ACTION), "headers": {**headers, "Content-Type": "application/json"}}
    arguments = body if method == "POST" else {"headers": headers}
    return pages.client.request(method, f"{PREFIX}{path}", params=more.get("params", QUERY), **arguments)


def test_every_route_is_known(pages: Pages) -> None:
    assert len(routes(pages.app)) == 2 * 20 + 1, "20 that read, by GET and HEAD, and one that acts"
    assert {path for _, path in routes(pages.app) if not path.startswith(("/api/", "/static/"))} == set()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, {401}, id="no token"),
        pytest.param({"Authorization": "Bearer garbage"}, {401, 403}, id="garbage"),
        pytest.param({"Authorization": "Basic YWRtaW46YWRtaW4="}, {401}, id="basic"),
        pytest.param({"Cookie": "_token=garbage"}, {401, 403}, id="cookie"),
    ],
)
def test_no_route_answers_without_a_session(pages: Pages, headers: dict[str, str], status: set[int]) -> None:
    for method, path in [*routes(pages.app), ("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/x")]:
        for one in {method, "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"}:
            answer = ask(pages, one, path, headers)
            assert answer.status_code in status, (one, path)


def test_no_route_answers_a_user_without_a_role(pages: Pages) -> None:
    for method, path in routes(pages.app):
        if not path.startswith("/static"):  # the bundle is the same for everybody with a session
            assert ask(pages, method, path, pages.headers("nobody")).status_code == 403, path


def test_another_users_dag_is_closed(pages: Pages) -> None:
    """The matrix: ann on what is bob's, by every method. What is shared leaves his out."""
    for method, path in routes(pages.app):
        answer = ask(pages, method, path, pages.headers("ann"))
        if path.startswith("/api/dags/"):
            assert answer.status_code == 403, path
        elif path.startswith("/api/rollouts/"):
            assert answer.status_code == 404, path
        assert HOSTILE not in answer.text or path.startswith("/api/models/"), path
        assert ask(pages, "OPTIONS", path, pages.headers("ann")).status_code == 403


@pytest.mark.parametrize("trick", [{"dag_id": ANN}, {"dag_id": "~"}, {"dag_id": ""}])
def test_a_query_does_not_overrule_the_path(pages: Pages, trick: dict[str, str]) -> None:
    for method, path in routes(pages.app):
        if path.startswith("/api/dags/"):
            assert ask(pages, method, path, pages.headers("ann"), params={**QUERY, **trick}).status_code == 403, path


@pytest.mark.parametrize("dag", ["~", "%7E", "..", "%2e%2e", f"{ANN}%2f..%2f{BOB}", f"{ANN}/../{BOB}", f"{BOB}%00"])
def test_no_spelling_of_a_dag_opens_it(pages: Pages, dag: str) -> None:
    answer = pages.client.get(f"{PREFIX}/api/dags/{dag}/run", params=QUERY, headers=pages.headers("ann"))
    assert answer.status_code in (403, 404, 422)
    assert HOSTILE not in answer.text


def test_absent_and_forbidden_are_the_same_answer(pages: Pages) -> None:
    forbidden = pages.get(f"api/rollouts/{BOB}_model", "ann")
    absent = pages.get("api/rollouts/nothing_model", "ann")
    assert (forbidden.status_code, forbidden.text) == (absent.status_code, absent.text)
    assert pages.get(f"api/dags/{BOB}/run", "ann", run_id="one").text == (
        pages.get("api/dags/bob_nothing/run", "ann", run_id="one").text
    )


def test_shared_lists_show_what_readable_dags_made(pages: Pages) -> None:
    """Bob's names, runs and words are on none of ann's pages."""
    for path in ("api/overview", "api/datasets", f"api/models/{ANN}_model", f"api/rollouts/{ANN}_model"):
        answer = pages.get(path, "ann")
        assert answer.status_code == 200, path
        assert f'"dag_id":"{BOB}"' not in answer.text
        assert f'"dag_id":"{ANN}"' in answer.text
    assert pages.get(f"api/datasets/{BOB}_rows", "ann").status_code == 404
    other = pages.get(f"api/models/{BOB}_model", "ann").json()
    assert other["history"] == other["drift"] == []
    assert pages.get(f"api/models/{BOB}_model/lineage", "ann", version="1").status_code == 404


def test_hostile_words_stay_data(pages: Pages) -> None:
    """They come back as they are, in JSON that no browser takes for a page."""
    seen = 0
    for method, path in routes(pages.app):
        if method != "GET" or path.startswith("/static"):
            continue
        for task in ("train.collect", "gate_dataset"):
            answer = ask(pages, method, path, pages.headers("admin"), params={**QUERY, "task_id": task})
            if answer.status_code != 200 or path.endswith("/csv"):
                continue
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            seen += json.dumps(HOSTILE)[1:-1] in json.dumps(answer.json())
    assert seen >= 12


def test_a_spreadsheet_gets_no_formula(pages: Pages, store: FolderStore) -> None:
    Line(store, dag=ANN, words="=cmd|' /C calc'!A0").record_run("formula")
    answer = pages.get(f"api/dags/{ANN}/sweep/csv", "ann", run_id="formula", task_id="train.collect")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "'=cmd" in answer.text
    assert ",=cmd" not in answer.text


@pytest.mark.parametrize("path", ["static/nothing.js", f"api/dags/{ANN}/run", "api/overview", "nowhere"])
def test_every_answer_has_the_security_headers(pages: Pages, path: str) -> None:
    for user in ("ann", "eve"):
        answer = pages.get(path, user, run_id="one")
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    [
        "../__init__.py", "..%2f__init__.py", "%2e%2e/%2e%2e/bundle.py", "....//bundle.py", "/etc/passwd",
        "%2fetc%2fpasswd",
        "..\\bundle.py", ".", "", "LICENSES.md", "SOURCES.sha256", f"{BUNDLE}%00.css", f"{BUNDLE}/", "a" * 5000,
    ],
)  # fmt: skip
def test_only_files_of_the_build_are_served(pages: Pages, name: str) -> None:
    answer = pages.client.get(f"{PREFIX}/static/{name}", headers=pages.headers("ann"))
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/json"


def test_the_bundle_is_served_with_its_type(pages: Pages) -> None:
    answer = pages.get(f"static/{BUNDLE}", "eve", v="0123456789abcdef")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    assert pages.get(f"static/{BUNDLE}", "eve").headers["cache-control"] == "private, no-cache"


def act(pages: Pages, user: str, *, dag: str = ANN, cookie: bool = False, **more: Any) -> Any:
    """Post an action as a browser would by cookie, or as a script by token."""
    headers = {"Cookie": f"_token={pages.tokens[user]}"} if cookie else pages.headers(user)
    headers |= {"Content-Type": "application/json"} | more.pop("headers", {})
    content = more.pop("content", json.dumps({**ACTION, **more}))
    return pages.client.post(f"{PREFIX}/api/dags/{dag}/rollouts/{dag}_model/actions", content=content, headers=headers)


def newest(store: FolderStore, dag: str = ANN) -> RolloutState:
    entry = store.latest(rollout_ref(f"{dag}_model", "prod"))
    assert entry is not None
    return RolloutState.from_dict(entry.value)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Origin": "https://evil.example"}, 403, id="another origin"),
        pytest.param({"Origin": "null"}, 403, id="a sandbox"),
        pytest.param({}, 403, id="no origin"),
        pytest.param({"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"}, 403, id="cross-site"),
        pytest.param({"Origin": "http://testserver.evil.example"}, 403, id="look-alike"),
        pytest.param({"Origin": "http://testserver", "Content-Type": "text/plain"}, 415, id="plain text"),
        pytest.param({"Origin": "http://testserver", "Content-Type": "multipart/form-data"}, 415, id="form"),
    ],
)  # fmt: skip
def test_another_site_cannot_act(pages: Pages, store: FolderStore, headers: dict[str, str], status: int) -> None:
    before = store.latest(rollout_ref(f"{ANN}_model", "prod"))
    assert act(pages, "ann", cookie=True, headers=headers).status_code == status
    assert store.latest(rollout_ref(f"{ANN}_model", "prod")) == before


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "null", '{"action": "promote"}', json.dumps({**ACTION, "reason": "x"}),
     json.dumps({**ACTION, "reason": "\x1b\u202e\n a"}),
     json.dumps({**ACTION, "more": 1}), json.dumps({**ACTION, "reason": "y" * 501}),
     json.dumps({**ACTION, "epoch": -1})],
)  # fmt: skip
def test_a_body_that_is_no_action_is_refused(pages: Pages, content: str) -> None:
    answer = act(pages, "ann", content=content)
    assert answer.status_code == 422
    assert "yyy" not in answer.text


def test_a_large_body_is_not_read(pages: Pages) -> None:
    assert act(pages, "ann", content="x" * 70_000).status_code == 413


def test_reading_is_not_acting(pages: Pages) -> None:
    """A viewer sees no action, and gets none done; nor does anybody on another's rollout."""
    assert act(pages, "eve").status_code == 403
    assert act(pages, "ann", dag=BOB).status_code == 403
    answer = pages.client.post(
        f"{PREFIX}/api/dags/{ANN}/rollouts/{BOB}_model/actions", json=ACTION, headers=pages.headers("ann")
    )
    assert answer.status_code == 404, "the rollout's own DAG decides, not the one in the path"


def test_an_action_names_who_and_why(pages: Pages, store: FolderStore) -> None:
    now_live(store)
    epoch = newest(store).epoch
    assert pages.get(f"api/rollouts/{ANN}_model", "ann").json()["allowed"] == ["hold", "promote", "roll_back"]
    held = act(pages, "ann", cookie=True, epoch=epoch, headers={"Origin": "http://testserver"})
    assert held.status_code == 200, held.text
    assert newest(store).held == "by ann: looks odd to me"
    assert act(pages, "ann", epoch=epoch).status_code == 409, "it is held already"
    assert act(pages, "ann", epoch=epoch, action="resume", reason="it was\nnothing").status_code == 200
    assert act(pages, "ann", epoch=epoch + 1, action="roll_back").status_code == 409, "another rollout"
    assert act(pages, "ann", epoch=epoch, action="approve").status_code == 409, "it does not wait for approval"
    assert act(pages, "ann", epoch=epoch, action="promote", arm="nobody").status_code == 422, "no such challenger"
    assert act(pages, "eve", epoch=epoch, action="promote").status_code == 403
    assert act(pages, "ann", epoch=epoch, action="promote", reason="two weeks are enough").status_code == 200
    assert newest(store).promote_arm == "challenger"
    page = pages.get(f"api/rollouts/{ANN}_model", "ann").json()
    assert (page["promote_arm"], page["allowed"]) == ("challenger", ["hold", "roll_back"])
    assert act(pages, "ann", epoch=epoch, action="promote").status_code == 409, "it is asked for already"
    assert act(pages, "ann", epoch=epoch, action="roll_back", reason=HOSTILE).status_code == 200
    state = newest(store)
    assert (state.pending, state.weight_percent) == ("rolled_back", 0.0)
    assert [(one.kind, one.who, one.why) for one in state.acts[-4:]] == [
        ("hold", "ann", "looks odd to me"),
        ("resume", "ann", "it was nothing"),
        ("promote", "ann", "two weeks are enough"),
        ("roll_back", "ann", " ".join(HOSTILE.replace("\u202e", " ").split())),
    ]  # fmt: skip
    page = pages.get(f"api/rollouts/{ANN}_model", "ann").json()
    assert page["allowed"] == []
    assert [row["by"] for row in page["actions"]] == ["ann"] * 4


def now_live(store: FolderStore) -> None:
    """Renew the lease of the recorded rollout: it was made in another year."""
    state, entry = newest(store), store.latest(rollout_ref(f"{ANN}_model", "prod"))
    assert entry is not None
    later = replace(state, lease_expires_at=datetime.now(UTC) + timedelta(hours=1))
    store.append(entry.ref, later.to_dict(), after=entry.sequence)


def park(store: FolderStore, dag: str) -> None:
    """Let a recorded rollout wait for an approval, and its task on Airflow's page of required actions."""
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import insert

    entry = store.latest(rollout_ref(f"{dag}_model", "prod"))
    assert entry is not None
    parked = replace(newest(store, dag), state="parked", lease_expires_at=None, weight_percent=0.0)
    store.append(entry.ref, parked.to_dict(), after=entry.sequence)
    instance, now = uuid.uuid4(), datetime.now(UTC)
    with create_session() as session:
        version = DagVersion(dag_id=dag, version_number=1, bundle_name="tests")
        session.add(version)
        session.flush()
        session.add(DagRun(dag_id=dag, run_id="canary", run_type="manual", state="running", run_after=now))
        session.flush()
        session.execute(
            insert(TaskInstance.__table__).values(
                id=instance, task_id="canary", dag_id=dag, run_id="canary", map_index=-1, state="awaiting_input",
                dag_version_id=version.id, pool="default_pool", pool_slots=1, priority_weight=1, queue="default",
                try_number=1, max_tries=0, custom_operator_name="", executor_config=b"", context_carrier={},
                next_method="answered", next_kwargs={},
            )
        )  # fmt: skip
        session.add(
            HITLDetail(
                ti_id=instance, options=["Approve", "Reject"], subject="Go on?", body="", defaults=["Reject"],
                multiple=False, params={}, assignees=[],
            )
        )  # fmt: skip


def test_an_approval_is_airflows_own_in_the_persons_name(pages: Pages, store: FolderStore) -> None:
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session
    from sqlalchemy import select

    park(store, BOB)
    epoch = newest(store, BOB).epoch
    assert pages.get(f"api/rollouts/{BOB}_model", "bob").json()["allowed"] == ["approve", "roll_back"]
    assert act(pages, "ann", dag=BOB, epoch=epoch, action="approve").status_code == 403
    assert act(pages, "bob", dag=BOB, epoch=epoch, action="hold").status_code == 409, "it waits: nothing to hold"
    assert act(pages, "bob", dag=BOB, epoch=epoch, action="approve", reason="the loss is noise").status_code == 200
    assert act(pages, "bob", dag=BOB, epoch=epoch, action="approve").status_code == 409, "it is answered"
    with create_session() as session:
        answer = session.scalars(select(HITLDetail)).one()
        assert (answer.responded_by["name"], answer.chosen_options) == ("bob", ["Approve"])
        assert answer_of(
            {"responded_by_user": answer.responded_by, "chosen_options": answer.chosen_options,
             "params_input": answer.params_input}
        ) == Answer(approved=True, who="bob", why="the loss is noise")  # fmt: skip
        assert answer.task_instance.state == "scheduled", "the task goes on by itself"


def test_a_failure_says_a_number_and_nothing_else(
    pages: Pages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret-in-a-message")

    monkeypatch.setattr("airflow_ml.plugin.web.dag_routes.run_view", fail)
    answer = pages.get(f"api/dags/{ANN}/run", "ann", run_id="one")
    assert answer.status_code == 500
    assert "secret-in-a-message" not in answer.text
    assert answer.json()["error_id"] in caplog.text


def test_an_answer_to_a_bad_parameter_does_not_repeat_it(pages: Pages) -> None:
    answer = pages.get(f"api/dags/{ANN}/runs", "ann", limit="<script>", offset=-1)
    assert answer.status_code == 422
    assert "script" not in answer.text
