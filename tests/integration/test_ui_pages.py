"""The plugin's pages in Chromium, inside the web pages of the installed Airflow, over fixtures: see ui_host.py.

Every page is drawn without an error, in light and dark; hostile strings stay text; what a person does is asked of the
server; each state (loading, empty, failed, stale) is shown.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

HOST = Path(__file__).with_name("ui_host.py")
FIXTURES = Path(__file__).parents[2] / "airflow_ml" / "plugin" / "www" / "dev" / "fixtures.json"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
#: Milliseconds. Loading Airflow takes one second on a quiet machine, and a minute on one that eight builds share.
WAIT = 120_000
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
RUN = "dag_id=flight_delays_train&run_id=scheduled__2013-05-11T00%3A00%3A00%2B00%3A00"

#: Each page, and words that stand on it once its answer is drawn.
PAGES = {
    "": "Running sweeps",
    "models": "Champions and challengers",
    "model?model=flight_delays": "Promotion history",
    "canary?model=flight_delays": "Samples per arm",
    "canary?model=flight_delays&epoch=3": "Samples per arm",
    "canary?model=flight_delays&epoch=4": "Challengers",
    f"sweep?{RUN}&task_id=train.plan&trial=t00251": "Run it again",
    "sweep?dag_id=weighed_train&run_id=x&task_id=train.plan": "no other beats it",
    "data": "Newest snapshots",
    "dataset?name=flights": "Drift over time",
    f"snapshot?{RUN}&task_id=gate_dataset": "First rows",
    f"run?{RUN}": "Compared with",
    f"task?{RUN}&task_id=select_model": "Bring it home",
    "task?dag_id=taxi_out_train&run_id=x&task_id=gate_model": "user error",
    "task?dag_id=lost_train&run_id=x&task_id=train.shards&map_index=3": "What happened",
}

PAYLOADS = (
    '<img src=x onerror="window.pwned=1">',
    "javascript:window.pwned=1",
    "\"'></title></svg><script>window.pwned=1</script>",
    "\u202ereversed\u202c \u0000\u0007 ü 航空 \U0001f600",
    "W" * 250,
    "{{constructor.constructor('window.pwned=1')()}} ${window.pwned=1}",
    "<svg/onload=window.pwned=1><iframe srcdoc='<script>parent.pwned=1</script>'>",
)

#: Pages with the most colours of their own.
DARK = ("canary?model=flight_delays&epoch=4", "sweep?dag_id=weighed", "task?dag_id=lost")

#: Whatever answers a click is a link, a button or a field, or takes the focus and keys itself; and each has a name.
UNREACHABLE = """
() => [...document.querySelectorAll('#root *')].filter(one =>
  getComputedStyle(one).cursor === 'pointer'
    && !one.closest('a, button, select, input, textarea, label, summary, [tabindex], [role=button]')
  || one.closest('section, figure') && one.matches('button, select, input')
    && !(one.textContent || one.ariaLabel || one.labels?.length)
).map(one => one.outerHTML.slice(0, 160))
"""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1_200),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.skipif(not FIXTURES.exists(), reason="an installed package has no fixtures"),
]


class Pages:
    """A browser's page on the host, and what went wrong in it. One for all tests: loading Airflow takes long."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.problems: list[str] = []
        #: In place of the host's own.
        self.answers: Mapping[str, Any] | None = None
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.route("**/airflow-ml/api/**", self._answer)
        page.goto(f"{address}plugin/ml")
        self._shown("Running sweeps")

    def _said(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def _answer(self, route: Any) -> None:
        url = urlsplit(route.request.url)
        path = url.path.removeprefix("/airflow-ml/")
        found = None if self.answers is None else self.answers.get(f"{path}?{url.query}", self.answers.get(path))
        if found is None:
            route.continue_()
        else:
            route.fulfill(json=found)

    def load(self, answers: Mapping[str, Any] | None) -> None:
        """Load Airflow anew, with other answers behind it."""
        self.answers = answers
        self.page.goto(f"{self.address}plugin/ml")
        self._shown("Running sweeps")

    def go(self, path: str, words: str) -> None:
        """Go to another page as a link does, without loading Airflow again.

        From a page to one of its kind by way of another: React shows the old one until the new one is ready, and the
        words that stand on both would be found on the old one.
        """
        if urlsplit(self.page.url).path == f"/plugin/ml/{path.partition('?')[0]}".rstrip("/"):
            between = "data" if path == "models" else "models"
            self._follow(between)
            self._shown(PAGES[between])
        self._follow(path)
        self._shown(words)

    def _follow(self, path: str) -> None:
        self.page.evaluate(
            "path => { history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate', {state: {}})); }",
            f"/plugin/ml/{path}".rstrip("/"),
        )

    def _shown(self, words: str) -> None:
        self.page.get_by_text(words).first.wait_for(timeout=WAIT)
        self.page.wait_for_function("() => !document.querySelector('[role=status][aria-label=Loading]')", timeout=WAIT)

    def tags(self) -> Mapping[str, int]:
        """How many elements of each kind the document has.

        Not counted is where a name may wrap: behind its own dots, so as often as it has some, and always without an
        attribute.
        """
        names = self.page.evaluate(
            "() => [...document.querySelectorAll('*')].filter(one => one.tagName !== 'WBR' || one.attributes.length)"
            ".map(one => one.tagName)"
        )
        return Counter(names)


@pytest.fixture(scope="module")
def whole() -> Iterator[Pages]:
    from playwright.sync_api import sync_playwright

    process = subprocess.Popen([sys.executable, str(HOST)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            size: Any = {"width": 1440, "height": 1000}
            context = chromium.new_context(
                viewport=size, timezone_id="Europe/Berlin", color_scheme="light", reduced_motion="reduce"
            )
            context.set_default_timeout(WAIT)
            yield Pages(context.new_page(), address)
            chromium.close()
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def pages(whole: Pages) -> Iterator[Pages]:
    """The page as the tests before left it, with the host's own answers."""
    whole.problems.clear()
    yield whole
    for route in (
        "**/api/overview",
        "**/api/models/never",
        "**/actions",
        "**/taskInstances/*/links?*",
        "**/taskInstances?state=*",
    ):
        whole.page.unroute(route)
    if whole.answers is not None:
        whole.load(None)


def test_every_page_is_drawn_without_an_error(pages: Pages) -> None:
    """In light all of them, in dark those with the most colours of their own."""
    for scheme in ("light", "dark"):
        pages.page.emulate_media(color_scheme=scheme)
        pages.page.wait_for_function(
            "dark => document.documentElement.classList.contains('dark') === dark", arg=scheme == "dark"
        )
        for path, words in PAGES.items():
            if scheme == "dark" and not path.startswith(DARK):
                continue
            pages.go(path, words)
            assert pages.page.locator("h1").count() == 1, path
            assert not pages.page.get_by_text("could not be drawn").count(), path
            assert not pages.page.locator("[data-scope=alert][data-status=error]").count(), path
            assert pages.page.evaluate(UNREACHABLE) == [], path
    pages.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert pages.problems == []


#: Times, since whether a browser takes other words for a time is its own affair, and the ways of being there.
KEPT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z$|(present|absent|unreadable|failed)$")


def replaced(value: Any, payloads: tuple[str, ...], counter: list[int], key: str = "") -> Any:
    """Replace every string by a payload with a number, and name every key of an open map by one."""
    if isinstance(value, dict):
        names = [*value]
        if key in ("params", "metrics", "settings"):
            return {
                f"{payloads[at % len(payloads)]}{at}": replaced(value[name], payloads, counter)
                for at, name in enumerate(names)
            }
        return {name: replaced(value[name], payloads, counter, name) for name in names}
    if isinstance(value, list):
        return [replaced(item, payloads, counter) for item in value]
    if isinstance(value, str) and not KEPT.match(value):
        counter[0] += 1
        return f"{payloads[counter[0] % len(payloads)]}{counter[0]}"
    return value


#: Names in the fixtures, of which each may be asked for under another one.
NAMES = re.compile(r"(flight_delays_train|flight_delays|flights|weighed_train|lost_train|taxi_out_train)(?![a-z_])")
#: Pages with every kind of element, for each test run.
SOME = ("model?", "canary?model=flight_delays&epoch=4", "snapshot?", "dataset?", "task?dag_id=lost")


def hostile_and_plain(pages: Pages, *, some: bool) -> None:
    """Draw pages of plain words, then of payloads, and compare the elements.

    Args:
        pages: The browser.
        some: Pages with a name in their address, under two names without loading Airflow anew; else all of them.
    """
    answers = json.loads(FIXTURES.read_text())
    seen: list[list[Mapping[str, int]]] = []
    for world, payloads in {"p": tuple(f"plain {at} " for at in range(len(PAYLOADS))), "h": PAYLOADS}.items():
        counter = [0]
        made = {path: replaced(answer, payloads, counter) for path, answer in answers.items()}
        assert counter[0] > 2_000
        if some:
            pages.answers = {NAMES.sub(rf"{world}.\1", path): answer for path, answer in made.items()}
        else:
            pages.load(made)
        found = []
        for path, words in PAGES.items():
            if some and not path.startswith(SOME):
                continue
            address = NAMES.sub(rf"{world}.\1", path) if some else path
            pages.go(address, "Provenance" if path.startswith("task?") else words)
            assert not pages.page.get_by_text("could not be drawn").count(), path
            found.append(pages.tags())
            schemes = pages.page.evaluate(
                "() => [...document.querySelectorAll('a[href], form[action], [src]')].map("
                "one => new URL(one.href || one.action || one.src, document.baseURI).protocol)"
            )
            assert set(schemes) <= {"http:", "https:"}, path
        assert pages.page.evaluate("() => window.pwned") is None
        assert pages.problems == []
        seen.append(found)
    shown = [path for path in PAGES if not some or path.startswith(SOME)]
    for path, plain, hostile in zip(shown, *seen, strict=True):
        assert plain == hostile, path


def test_hostile_strings_stay_text(pages: Pages) -> None:
    """Each string of an answer is replaced, once by plain words, once by payloads: the elements are the same."""
    hostile_and_plain(pages, some=True)
    pages.answers = None


@pytest.mark.long
def test_hostile_strings_stay_text_on_every_page(pages: Pages) -> None:
    hostile_and_plain(pages, some=False)


def test_the_server_sorts_filters_and_pages(pages: Pages) -> None:
    pages.go("", "Running sweeps")
    pages.go(f"sweep?{RUN}&task_id=train.plan", "Leaderboard")

    def asked(action: Any) -> dict[str, list[str]]:
        with pages.page.expect_request(lambda request: "/sweep/trials" in request.url) as request:
            action()
        return parse_qs(urlsplit(request.value.url).query)

    header = pages.page.get_by_role("columnheader", name="learning_rate").get_by_role("button")
    header.focus()
    query = asked(lambda: pages.page.keyboard.press("Enter"))
    assert (query["sort"], query["order"]) == (["learning_rate"], ["asc"])
    assert asked(lambda: header.press("Enter"))["order"] == ["desc"]
    assert asked(lambda: pages.page.get_by_role("button", name="Next").click())["offset"] == ["50"]
    query = asked(lambda: pages.page.get_by_label("Find trials").fill("ValueError"))
    assert query["text"] == ["ValueError"]
    assert query["offset"] == ["0"]
    assert asked(lambda: pages.page.get_by_label("Status").select_option("failed"))["status"] == ["failed"]
    assert "text=ValueError" in pages.page.url
    assert pages.page.get_by_label("Find trials").input_value() == "ValueError"


def test_an_action_needs_a_reason_and_says_what_came_of_it(pages: Pages) -> None:
    pages.go("canary?model=flight_delays", "Samples per arm")
    assert not pages.page.get_by_role("button", name="Resume").count(), "only what is allowed is offered"
    pages.page.get_by_role("button", name="Hold").click()
    dialog = pages.page.get_by_role("dialog")
    submit = dialog.get_by_role("button", name="Hold")
    assert submit.is_disabled()
    dialog.get_by_role("textbox").fill("ab")
    assert submit.is_disabled()
    dialog.get_by_role("textbox").fill("the weather feed stopped")
    with pages.page.expect_request(lambda request: request.method == "POST") as request:
        submit.click()
    assert request.value.headers["content-type"] == "application/json"
    assert request.value.post_data_json == {"action": "hold", "reason": "the weather feed stopped", "epoch": 5}
    pages.page.get_by_text("Held at 25 %").wait_for()

    refused = {"detail": "The rollout has ended meanwhile.", "remedy": "Look at the newest one."}
    pages.page.route("**/actions", lambda route: route.fulfill(status=409, json=refused))
    pages.page.get_by_role("button", name="Roll back").click()
    dialog.get_by_role("textbox").fill("worse than thought")
    dialog.get_by_role("button", name="Roll back").click()
    dialog.get_by_text("The rollout has ended meanwhile.").wait_for()
    pages.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")


@pytest.mark.long  # waits for what hangs: 20 s
def test_loading_failed_empty_and_stale_are_shown(pages: Pages) -> None:
    answers = json.loads(FIXTURES.read_text())
    state: dict[str, Any] = {"held": True, "body": None}
    waiting: list[Any] = []

    def answer(route: Any) -> None:
        if state["held"]:
            waiting.append(route)
        elif state["body"] is None:
            route.fulfill(status=503, json={"detail": "The store does not answer.", "remedy": "Check the bucket."})
        else:
            route.fulfill(json=state["body"])

    pages.page.route("**/api/models/never", answer)
    pages.page.route("**/api/overview", answer)
    pages.page.evaluate(
        "() => { history.pushState({}, '', '/plugin/ml/model?model=never');"
        " dispatchEvent(new PopStateEvent('popstate', {state: {}})); }"
    )
    pages.page.get_by_role("status", name="Loading").first.wait_for()

    state["held"] = False
    for route in waiting:
        answer(route)
    pages.page.get_by_text("The store does not answer.").wait_for()
    pages.page.get_by_text("Check the bucket.").wait_for()
    state["body"] = answers["api/models/flight_delays"]
    pages.page.get_by_role("button", name="Try again").click()
    pages.page.get_by_text("Promotion history").wait_for()

    state["body"] = answers["api/overview"] | {"models": [], "sweeps": [], "gates": [], "drifts": []}
    later(pages)
    pages.go("", "No sweep is running.")
    for words in ("There is no model yet.", "No gate has decided yet.", "No drift was measured yet."):
        pages.page.get_by_text(words).wait_for()

    state["body"] = None
    # As when somebody comes back to the tab after a while.
    later(pages)
    pages.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    pages.page.get_by_text("not renewed since: The store does not answer.").wait_for()
    assert pages.page.get_by_text("No sweep is running.").is_visible()
    pages.page.unroute("**/api/overview")
    later(pages)
    pages.go("models", PAGES["models"])
    pages.go("", "Running sweeps")


def later(pages: Pages) -> None:
    """Let a minute pass: answers are asked for anew."""
    pages.page.clock.set_fixed_time(pages.page.evaluate("() => Date.now() / 1_000 + 60"))


def test_a_task_leads_to_the_pages_of_its_operator(pages: Pages) -> None:
    """Its links in Airflow stand on its tab: this plugin's pages as routes, others as addresses, hostile ones never."""
    links = {
        "Sweep": f"{pages.address}plugin/ml/sweep?{RUN}&task_id=train.plan",
        "ML task": f"{pages.address}plugin/ml/task?{RUN}&task_id=select_model",
        "MLflow": "https://mlflow.example/#/models/flight_delays",
        "Hostile": "javascript:window.pwned=1",
        "Query history": None,
    }
    pages.page.route("**/taskInstances/*/links?*", lambda route: route.fulfill(json={"extra_links": links}))
    pages.go("task?dag_id=flight_delays_train&run_id=linked&task_id=select_model", "Bring it home")
    found = pages.page.get_by_role("navigation", name="Pages of this task")
    assert found.get_by_role("link").all_inner_texts() == ["Sweep", "MLflow ↗"]
    pages.page.evaluate("() => { window.loadedOnce = true; }")
    found.get_by_role("link", name="Sweep").click()
    pages.page.get_by_text("Best of each group").wait_for()
    assert pages.page.evaluate("() => window.loadedOnce"), "it is a route, not another document"


def test_of_several_challengers_the_one_to_promote_is_named(pages: Pages) -> None:
    view = json.loads(FIXTURES.read_text())["api/rollouts/flight_delays?epoch=4"]
    several = view | {"challengers": [{**one, "stopped": ""} for one in view["challengers"]]}
    pages.answers = {"api/rollouts/several": several}
    pages.go("canary?model=several", "Challengers")
    pages.page.get_by_role("button", name="Promote").click()
    dialog = pages.page.get_by_role("dialog")
    dialog.get_by_text("A look that shows harm rolls back instead.").wait_for()
    dialog.get_by_label("Version to promote").select_option("version 4")
    dialog.get_by_role("textbox").fill("two weeks are enough")
    with pages.page.expect_request(lambda request: request.method == "POST") as request:
        dialog.get_by_role("button", name="Promote").click()
    assert request.value.post_data_json == {
        "action": "promote", "reason": "two weeks are enough", "epoch": several["epoch"], "arm": "challenger-2",
    }  # fmt: skip
    dialog.wait_for(state="hidden")
    pages.answers = None


def test_a_page_says_what_it_is_opened_for(pages: Pages) -> None:
    """Why a champion serves, and since which look it was shown better; what a gate refused; what is not there."""
    pages.go("model?model=flight_delays", "Promotion history")
    assert pages.page.get_by_role("link", name=re.compile("^Promoted: Better")).count() == 1
    pages.go("canary?model=flight_delays&epoch=4", "Challengers")
    pages.page.locator("figure").first.get_by_text("shown better").wait_for()
    pages.go("task?dag_id=taxi_out_train&run_id=x&task_id=gate_model", "user error")
    checks = pages.page.get_by_role("table", name="Checks")
    assert checks.get_by_role("row").nth(1).inner_text().split("\t")[:2] == ["failed", "beats_baseline"]
    asked: list[str] = []
    pages.page.on("request", lambda request: asked.append(request.url) if "rollouts/none" in request.url else None)
    pages.go("canary?model=none", "There is no such thing")
    pages.page.wait_for_timeout(6_000)  # a live one is asked for every five seconds
    assert len(asked) == 1


def test_a_run_says_what_still_runs(pages: Pages) -> None:
    """By Airflow's word: a planned sweep runs while its shards do, and instances of a task are told together."""
    run = json.loads(FIXTURES.read_text())["api/dags/flight_delays_train/run"]
    sweep = next(one for one in run["stages"] if one["kind"] == "sweep")
    stages = [one for one in run["stages"] if one["kind"] in ("snapshot", "gate")]
    planned = {**run, "stages": [*stages, {**sweep, "task_id": "train.plan", "instances": 1}]}
    shards = [{"task_id": "train.shards", "map_index": at, "state": "running"} for at in range(3)]
    again = {"task_id": "snapshot", "map_index": -1, "state": "running"}
    pages.page.route("**/taskInstances?state=*", lambda route: route.fulfill(json={"task_instances": [*shards, again]}))
    pages.answers = {"api/dags/flight_delays_train/run": planned}
    pages.go("run?dag_id=flight_delays_train&run_id=goes_on", "Not ended yet")
    row = pages.page.get_by_role("row", name=re.compile("train.plan"))
    assert row.get_by_text("running", exact=True).count() == 1
    assert row.get_by_text("succeeded").count() == 0
    assert pages.page.get_by_role("row", name=re.compile("^Snapshot")).get_by_text("1 not ended").count() == 1
    assert pages.page.get_by_role("link", name="train.shards", exact=True).count() == 1
    assert pages.page.get_by_text("× 3").count() == 1
    pages.answers = None


def test_plots_can_be_saved_and_walked(pages: Pages) -> None:
    pages.go("canary?model=flight_delays", "Samples per arm")
    figure = pages.page.locator("figure").first
    with pages.page.expect_download() as download:
        figure.get_by_role("button", name=re.compile("PNG")).click()
    content = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == "brier-challenger-champion.png"
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(content) > 10_000
    with pages.page.expect_download() as download:
        figure.get_by_role("button", name=re.compile("CSV")).click()
    lines = Path(download.value.path()).read_text().splitlines()
    looks = json.loads(FIXTURES.read_text())["api/rollouts/flight_delays"]["looks"]
    assert lines[0].startswith("number,at,data_days")
    assert len(lines) == len(looks) + 1
    figure.locator("svg[role=img]").focus()
    pages.page.keyboard.press("End")
    figure.get_by_text(re.compile("^Look 84")).wait_for()
    pages.page.keyboard.press("ArrowLeft")
    figure.get_by_text(re.compile("^Look 83")).wait_for()


def test_times_are_in_the_readers_zone(pages: Pages) -> None:
    pages.go("canary?model=flight_delays", "Samples per arm")
    assert pages.page.get_by_text("2013-05-14 07:24:00").count() == 1  # 05:24 UTC in Berlin
    pages.page.evaluate("() => localStorage.setItem('timezone', JSON.stringify('Asia/Kolkata'))")
    pages.go("models", PAGES["models"])
    pages.go("canary?model=flight_delays", "Samples per arm")
    assert pages.page.get_by_text("2013-05-14 10:54:00").count() == 1
    pages.page.evaluate("() => localStorage.removeItem('timezone')")
