"""A small client of Airflow's REST API: what a test or demo needs to start a DAG run and watch it."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: States in which a DAG run or task instance stays.
RUN_ENDED = frozenset({"success", "failed"})
TASK_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class ApiError(RuntimeError):
    """Airflow refused a request, or did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        #: The HTTP status; None where there was no answer.
        self.status = status


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task instance as Airflow reports it."""

    task_id: str
    map_index: int
    #: None until the scheduler has looked at it.
    state: str | None
    try_number: int
    started_at: datetime | None
    ended_at: datetime | None


class AirflowAPI:
    """Speaks ``/api/v2`` of one Airflow.

    Args:
        base_url: For example ``http://127.0.0.1:8080``.
        username: A user of the auth manager.
        password: Its password; a token is fetched with it when first needed and again when it has expired.
        timeout_seconds: Of one request.
    """

    def __init__(self, base_url: str, username: str, password: str, *, timeout_seconds: float = 30.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._login = {"username": username, "password": password}
        self._timeout = timeout_seconds
        self._token = ""
        # A proxy of the environment has no business between this process and Airflow on the same machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def request(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Send one request below ``/api/v2`` and return the JSON of the answer.

        Raises:
            ApiError: Airflow answered 4xx or 5xx, or not at all.
        """
        if not self._token:
            self._token = self._send("POST", "/auth/token", self._login, {})["access_token"]
        url = f"/api/v2{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            return self._send(method, url, body, {"Authorization": f"Bearer {self._token}"})
        except ApiError as error:
            if error.status != 401:
                raise
            self._token = self._send("POST", "/auth/token", self._login, {})["access_token"]
            return self._send(method, url, body, {"Authorization": f"Bearer {self._token}"})

    def health(self) -> dict[str, str | None]:
        """Return the status of each component (``healthy``, ``unhealthy`` or None), without logging in."""
        answer = self._send("GET", "/api/v2/monitor/health", None, {})
        return {name: part.get("status") for name, part in answer.items()}

    def execution_health(self) -> None:
        """Ask the API of the tasks whether it is there.

        Raises:
            ApiError: it is not.
        """
        self._send("GET", "/execution/health", None, {})

    def wait_for_dag(self, dag_id: str, timeout_seconds: float = 120.0) -> None:
        """Return when the dag processor has stored a DAG.

        Raises:
            ApiError: it did not appear in time; the message has the import errors.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                self.request("GET", f"/dags/{dag_id}")
                return
            except ApiError as error:
                if error.status != 404:
                    raise
            if errors := self.import_errors():
                raise ApiError(f"The DAG {dag_id} does not load.\n" + "\n".join(errors))
            if time.monotonic() > deadline:
                raise ApiError(f"No DAG {dag_id} after {timeout_seconds:g} s and no import error either.")
            time.sleep(0.5)

    def import_errors(self) -> list[str]:
        """Return ``<file>: <traceback>`` for each DAG file that does not load."""
        found = self.request("GET", "/importErrors")["import_errors"]
        return [f"{one['filename']}: {one['stack_trace']}" for one in found]

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self.request("PATCH", f"/dags/{dag_id}", body={"is_paused": False})

    def trigger(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        run_after: datetime | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a DAG run and return its id.

        Args:
            run_after: When the run stands for, and may start; a moment in the past starts at once. None for now.
            logical_date: None, as for a run that an Asset started.
        """
        body: dict[str, Any] = {"logical_date": logical_date and logical_date.isoformat(), "conf": dict(conf or {})}
        if run_id is not None:
            body["dag_run_id"] = run_id
        if run_after is not None:
            body["run_after"] = run_after.isoformat()
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", body=body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the newest 50 DAG runs as Airflow describes them, oldest first."""
        query = {"order_by": "-id", "limit": 50}
        return list(reversed(self.request("GET", f"/dags/{dag_id}/dagRuns", query=query)["dag_runs"]))

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.request("GET", f"/dags/{dag_id}/dagRuns/{_quote(run_id)}")["state"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout_seconds: float) -> str:
        """Return the state in which a run ended.

        Raises:
            ApiError: it had not ended in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while (state := self.run_state(dag_id, run_id)) not in RUN_ENDED:
            if time.monotonic() > deadline:
                raise ApiError(f"{dag_id}/{run_id} is still {state} after {timeout_seconds:g} s.")
            time.sleep(0.5)
        return state

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return all task instances of a run, by start."""
        found: list[dict[str, Any]] = []
        path = f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances"
        while True:
            page = self.request("GET", path, query={"limit": 100, "offset": len(found)})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                break
        states = [
            TaskState(
                one["task_id"],
                one["map_index"],
                one["state"],
                one["try_number"],
                _time(one["start_date"]),
                _time(one["end_date"]),
            )
            for one in found
        ]
        return sorted(states, key=lambda one: (one.started_at is None, one.started_at, one.task_id, one.map_index))

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int | None = None
    ) -> Any:
        """Return the plain JSON of an XCom; None where there is none."""
        path = f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        query = {"deserialize": "false"} | ({} if map_index is None else {"map_index": map_index})
        try:
            return self.request("GET", path, query=query)["value"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def xcom_keys(self, dag_id: str, run_id: str) -> list[tuple[str, str]]:
        """Return task id and key of every XCom that the unmapped tasks of a run have pushed so far."""
        path = f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances/~/xcomEntries"
        found: list[tuple[str, str]] = []
        offset = 0
        while True:
            page = self.request("GET", path, query={"limit": 100, "offset": offset})
            found += [(one["task_id"], one["key"]) for one in page["xcom_entries"] if one["map_index"] < 0]
            offset += len(page["xcom_entries"])
            if not page["xcom_entries"] or offset >= page["total_entries"]:
                return found

    def triggered_runs(self, dag_id: str, run_id: str) -> list[tuple[str, str]]:
        """Return DAG id and run id of the runs that a run's asset events have started so far."""
        try:
            events = self.asset_events(source_dag_id=dag_id, source_run_id=run_id)
        except ApiError as error:
            # Airflow 3.3.2 cannot describe an event whose run is created but not started yet: ask again later.
            if error.status == 500:
                return []
            raise
        return list(
            dict.fromkeys((run["dag_id"], run["run_id"]) for event in events for run in event["created_dagruns"])
        )

    def log(self, dag_id: str, run_id: str, task: TaskState) -> list[str]:
        """Return the lines of a task's newest try: events, and the errors of a traceback; none before it started."""
        if task.try_number < 1:
            return []
        path = f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances/{task.task_id}/logs/{task.try_number}"
        query = {"map_index": task.map_index, "full_content": "true"}
        lines: list[str] = []
        for entry in self.request("GET", path, query=query)["content"]:
            if isinstance(entry, str):
                lines.append(entry)
                continue
            lines.append(str(entry.get("event", "")))
            for error in entry.get("error_detail") or ():
                lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
        return lines

    def asset_events(self, **filters: Any) -> list[dict[str, Any]]:
        """Return asset events, oldest first; filters as ``GET /assets/events`` has them (``source_dag_id=...``)."""
        query = {"order_by": "timestamp", "limit": 100, **filters}
        return list(self.request("GET", "/assets/events", query=query)["asset_events"])

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base_url}{path}", data=data, method=method, headers=dict(headers))
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")[:2000]
            raise ApiError(f"{method} {path}: Airflow answered {error.code}: {text}", error.code) from error
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {path}: no answer from {self.base_url}: {error}") from error
        return json.loads(content) if content else None


def _quote(run_id: str) -> str:
    return urllib.parse.quote(run_id, safe="")


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
