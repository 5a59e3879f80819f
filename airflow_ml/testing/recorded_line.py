"""Runs of a whole line as their records lie in a store: for tests and benchmarks of what reads them.

Made with the product's own records, plans, ledgers and rollout histories; only the numbers are drawn by seed.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.core.call import Call, FunctionRef
from airflow_ml.core.canary import PROMOTED, Rollout
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import canonical_json, digest_json
from airflow_ml.core.gate import CheckResult, GateReport
from airflow_ml.core.monitoring import DriftMeasure, DriftReport, ScoreTable
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import SUCCEEDED, Provenance, find_handles, index_ref, run_ref, task_ref
from airflow_ml.core.record import Record, encode
from airflow_ml.core.registration import ModelVersion
from airflow_ml.core.rollout_change import created, ended, ending, looked
from airflow_ml.core.rollout_look import Look
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.core.selection import Selection
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.core.space import IntUniform, LogUniform, space_to_dict
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.core.trials import FAILED, PlannedTrial, TrialResult, plan_trials, trial_lines
from airflow_ml.core.trials import SUCCEEDED as TRIAL_SUCCEEDED
from airflow_ml.runtime.leaderboard import collect
from airflow_ml.runtime.ledger import Ledger
from airflow_ml.runtime.rollout_evidence import rollout_ref

#: Trials in one entry of a shard's ref.
_BATCH = 500
SPACE: Mapping[str, Any] = {"learning_rate": LogUniform(0.01, 0.3), "max_leaf_nodes": IntUniform(4, 64)}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """Whose line it is, and the words that stand in its records; a test puts hostile ones there.

    Args:
        store: Where the records go.
        dag: The DAG of all its tasks.
        namespace: Of the records.
        words: Stands in every free text: reasons, errors, column names, values, parameters.
    """

    store: ArtifactStore
    dag: str = "flights"
    namespace: str = "prod"
    words: str = "as it should be"

    @property
    def model(self) -> str:
        """The registered model's name."""
        return f"{self.dag}_model"

    def record_run(
        self,
        run: str,
        *,
        began: datetime = NOW,
        trials: int = 24,
        shards: int = 2,
        collected: bool = True,
        also: Mapping[str, str] | None = None,
        features: FeatureSet | None = None,
    ) -> None:
        """Write a run: snapshot, gate, features, sweep, selection, gate, registration.

        Args:
            run: Its id.
            began: When its first task began; a task takes a minute.
            trials: Of its sweep.
            shards: Tasks that share them.
            also: Further objectives of its sweep; each is the number of leaves.
            collected: False for a run whose sweep is under way, with half of its trials.
            features: Of an earlier run; None makes them.
        """
        tasks = _Tasks(self, run, began)
        tasks.begin_run()
        features = features or self._record_features(tasks)
        plan, planned = self.plan_sweep(features, trials=trials, seed=run, shards=shards)
        plan = replace(plan, also=dict(also or {}))
        tasks.add("train.plan", "PlanSweepOperator", {"data": features}, beside={"plan": plan})
        self.commit_trials(plan, planned if collected else planned[: len(planned) // 2])
        if not collected:
            return
        for shard in range(plan.shards):
            tasks.add("train.shards", "RunShardOperator", {"plan": plan}, map_index=shard)
        board = collect(plan, self.store)
        tasks.add("train.collect", "CollectSweepOperator", {"plan": plan}, [board])
        selection = self._selection(board, features)
        tasks.add("select_model", "SelectModelOperator", {"leaderboard": board}, [selection])
        report = self._report(selection, "model")
        gate = {"selection": selection, "data": features}
        tasks.add("gate_model", "GateModelOperator", gate, [selection], beside={"report": report})
        version = self._version(selection, features, run)
        tasks.add("register_model", "RegisterModelOperator", {"selection": selection}, [version])

    def record_features(self, run: str, *, began: datetime = NOW) -> FeatureSet:
        """Write a run that ends with its features: snapshot, gate, features."""
        tasks = _Tasks(self, run, began)
        tasks.begin_run()
        return self._record_features(tasks)

    def _record_features(self, tasks: _Tasks) -> FeatureSet:
        snapshot = self._snapshot()
        tasks.add("snapshot", "SnapshotDatasetOperator", outputs=[snapshot])
        report = self._report(snapshot, "dataset")
        tasks.add("gate_dataset", "GateDatasetOperator", {"subject": snapshot}, [snapshot], beside={"report": report})
        features = self._features(snapshot)
        tasks.add("build_features", "BuildFeaturesOperator", {"spine": snapshot}, [features])
        return features

    def record_call(self, run: str, task: str, call: Call, *, began: datetime = NOW) -> None:
        """Write a `@task.ml` task of a run that `record_run` has begun."""
        _Tasks(self, run, began).add(task, "@task.ml", call=call)

    def record_watch(self, run: str, version: str, *, began: datetime = NOW) -> None:
        """Write a run that scored rows with a version and measured their drift."""
        tasks = _Tasks(self, run, began)
        tasks.begin_run()
        scores = self._scores(version)
        tasks.add("predict", "PredictOperator", outputs=[scores])
        measure = DriftMeasure(column=self.words, statistic="psi", value=0.4, threshold=0.25, drifted=True)
        drift = DriftReport(
            model=self.model, version=version, drifted=True, reason=self.words, measures=(measure,),
            error_by_week={"2026-W01": 0.2}, rows=50, outcomes=40, report=self.json({"measures": []}),
            parents=(scores.fingerprint,),
        )  # fmt: skip
        tasks.add("monitor", "MonitorOperator", {"scores": scores}, [drift])

    def record_rollout(self, run: str, *, looks: int = 10, end: bool = True, began: datetime = NOW) -> RolloutState:
        """Write a rollout of version 2 against version 1 with its looks; ``end`` promotes it."""
        tasks = _Tasks(self, run, began)
        tasks.begin_run()
        ref = rollout_ref(self.model, self.namespace)
        newest = self.store.latest(ref)
        previous = RolloutState.from_dict(newest.value) if newest is not None else None
        state = created(
            previous, plan=parse_plan([(5, "1d"), (50, "1d"), 100]), model=self.model, namespace=self.namespace,
            champion={"version": "1"}, challenger={"version": "2"}, owner=f"{self.dag}/{run}/canary", now=began,
            lease_seconds=180.0, router_name="gateway_default",
        )  # fmt: skip
        sequence = self._append_rollout(state, newest.sequence if newest is not None else 0)
        now = began
        for number in range(1, looks + 1):
            now += timedelta(seconds=60)
            step = min(2, 3 * (number - 1) // max(looks - 1, 1))
            look = _look(number, now, state, self.words)
            state = looked(state, look, next_step=step > state.step, now=now, lease_seconds=180.0)
            sequence = self._append_rollout(replace(state, confirmed=True), sequence)
        if end:
            state = ending(state, PROMOTED, reason=self.words, cause="evidence")
            sequence = self._append_rollout(state, sequence)
            state = ended(state)
            self._append_rollout(state, sequence)
            closing = Rollout(
                model=self.model, namespace=self.namespace, champion="1", challenger="2", outcome=PROMOTED,
                reason=self.words, epoch=state.epoch, looks=looks,
            )  # fmt: skip
            tasks.add("canary", "CanaryOperator", outputs=[closing])
        return state

    def plan_sweep(
        self, features: FeatureSet, *, trials: int, seed: str = "", groups: int = 2, shards: int = 2
    ) -> tuple[SweepPlan, list[PlannedTrial]]:
        """Return a sweep's plan and its trials."""
        names = [f"group {number}" for number in range(min(groups, trials))]
        planned = plan_trials(
            space=SPACE, groups=names, trials_per_group=max(1, trials // len(names)), seed=len(seed), shards=shards
        )
        function = FunctionRef(kind="source", module="dag.py", qualname="train", digest=digest_json("train"))
        lines = self.store.put_bytes(trial_lines(planned), format="jsonl", rows=len(planned))
        plan = SweepPlan(
            sweep=digest_json([self.dag, seed, trials]), function=function, data=features.to_dict(), by="origin",
            groups=len(names), trials=len(planned), shards=shards, metric="brier", direction="minimize", seed=1,
            timeout_seconds=60.0, min_success_fraction=0.5, max_train_rows=None, plan=lines,
            space=space_to_dict(SPACE),
        )  # fmt: skip
        return plan, planned

    def commit_trials(self, plan: SweepPlan, planned: Sequence[PlannedTrial]) -> None:
        """Commit results; every 20th trial failed."""
        for shard in range(plan.shards):
            ledger = Ledger(self.store, shard_ref(plan.sweep, shard, plan.shards), batch_seconds=1e9)
            for trial in planned:
                if trial.shard == shard:
                    ledger.add(self._result(trial, plan.also))
            ledger.flush()

    def json(self, value: Any) -> Artifact:
        """Store a JSON document."""
        return self.store.put_bytes(canonical_json(value), format="json")

    def table(self, rows: int = 60) -> Artifact:
        """Store a table whose text, and one column's name, are the line's words."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {"id": list(range(rows)), "x": [number / 7 for number in range(rows)], self.words: [self.words] * rows}
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        columns = [
            Column(name=name, dtype=str(kind))
            for name, kind in zip(table.column_names, table.schema.types, strict=True)
        ]
        return self.store.put_bytes(buffer.getvalue(), format="parquet", rows=rows, columns=columns)

    def _result(self, trial: PlannedTrial, also: Iterable[str] = ()) -> TrialResult:
        if int(trial.trial[1:]) % 20 == 7:
            return TrialResult(trial=trial.trial, status=FAILED, reason=self.words, traceback=self.words, seconds=0.1)
        rate = float(str(trial.params["learning_rate"]))
        value = 0.2 + (rate - 0.1) ** 2 + random.Random(trial.seed).gauss(0, 0.001)
        return TrialResult(
            trial=trial.trial, status=TRIAL_SUCCEEDED, seconds=0.5, reports=((1.0, value),),
            metrics={
                "brier": value, "auc": 1 - value,
                **{name: float(str(trial.params["max_leaf_nodes"])) for name in also},
            },
        )  # fmt: skip

    def _snapshot(self) -> DatasetSnapshot:
        rows = self.table()
        return DatasetSnapshot(
            name=f"{self.dag}_rows", artifact=rows, as_of=NOW, rows=rows.rows or 0, consistency="time_travel",
            statement_id="01b2c3d4-0000-1111-2222-333344445555", statement_digest=digest_json("select"),
            source="snowflake:snowflake_default",
        )  # fmt: skip

    def _report(self, subject: Record, kind: str) -> GateReport:
        check = CheckResult(name=self.words, severity="warning", passed=False, observed=self.words, expected=self.words)
        return GateReport(
            subject=subject.fingerprint, kind=kind, verdict="warn", reason=self.words, checks=(check,), rows=60,
            quarantined=3 if kind == "dataset" else 0, quarantine=self.table(3) if kind == "dataset" else None,
            report=self.json({"checks": encode((check,))}), checks_run=1, checks_failed=1,
        )  # fmt: skip

    def _features(self, snapshot: DatasetSnapshot) -> FeatureSet:
        definition = self.json({"name": self.words})
        return FeatureSet(
            view="view", view_digest=definition.digest, definition=definition, artifact=self.table(50), as_of=NOW,
            key="id", predict_at="at", label="late", features=("x", self.words), split_rows={"train": 50},
            spine=snapshot.artifact, engine="duckdb", parents=(snapshot.fingerprint,),
        )  # fmt: skip

    def _selection(self, board: Leaderboard, features: FeatureSet) -> Selection:
        manifest = {"features": list(features.features), "categories": {self.words: ["a"]}, "members": {}}
        return Selection(
            sweep=board.sweep, metric="brier", direction="minimize", value=board.best.value, reason=self.words,
            models=self.json(manifest), leaderboard=board.artifact, refit="none", groups=board.groups,
            data=features.to_dict(), code_digest=digest_json("code"), parents=(board.fingerprint,),
        )  # fmt: skip

    def _version(self, selection: Selection, features: FeatureSet, run: str) -> ModelVersion:
        ref = f"models/{self.namespace}/{self.model}"
        newest = self.store.latest(ref)
        number = newest.sequence + 1 if newest is not None else 1
        version = ModelVersion(
            name=self.model, version=str(number), run_id="0" * 32, model_uri=f"models:/{self.model}/{number}",
            models=selection.models, model_digest=selection.models.digest, view=features.view,
            view_digest=features.view_digest, view_definition=features.definition, features=features.features,
            metrics={"validate_brier": selection.value},
            made_by={"dag": self.dag, "run": run, "task": "register_model"}, parents=(selection.fingerprint,),
        )  # fmt: skip
        self.store.append(ref, version.to_dict(), after=number - 1)
        return version

    def _scores(self, version: str) -> ScoreTable:
        return ScoreTable(
            model=self.model, version=version, view_digest=digest_json("view"), table="scores", rows=50, start_at=NOW,
            end_at=NOW, artifact=self.table(50), models=self.json({}), features=self.json({}), reference=self.json({}),
        )  # fmt: skip

    def _append_rollout(self, state: RolloutState, after: int) -> int:
        return self.store.append(rollout_ref(self.model, self.namespace), state.to_dict(), after=after).sequence


@dataclass(slots=True)
class _Tasks:
    """Writes the tasks of one run down, one a minute."""

    line: Line
    run: str
    now: datetime

    def begin_run(self) -> None:
        """Enter the run into its DAG's index."""
        line = self.line
        head: dict[str, Any] = {
            "dag": line.dag, "run": self.run, "namespace": line.namespace, "started_at": encode(self.now),
            "triggered_by": f"manual by {line.words}",
        }  # fmt: skip
        index = index_ref(line.namespace, line.dag)
        newest = line.store.latest(index)
        line.store.append(index, head, after=newest.sequence if newest is not None else 0)
        line.store.append(run_ref(line.namespace, line.dag, self.run), head, after=0)

    def add(
        self,
        task: str,
        operator: str,
        inputs: Mapping[str, Record] | None = None,
        outputs: Sequence[Record] = (),
        *,
        beside: Mapping[str, Record] | None = None,
        map_index: int = -1,
        call: Call | None = None,
    ) -> None:
        """Write one task."""
        line, began = self.line, self.now
        self.now += timedelta(minutes=1)
        item = Provenance(
            dag=line.dag, run=self.run, task=task, map_index=map_index, try_number=1, namespace=line.namespace,
            operator=operator, call=call, airflow_ml="0.1.0", python="3.11.7", platform="Linux x86_64", cpu="cpu",
            cpus=2, environment=digest_json("environment"), params={"words": line.words},
            settings={"words": line.words},
            inputs=tuple(_handles(inputs or {})),
            outputs=tuple(handle for one in outputs for handle in find_handles("return", one)),
            beside=tuple(_handles(beside or {})), returned=line.words, started_at=began, ended_at=self.now,
            outcome=SUCCEEDED,
        )  # fmt: skip
        ref = task_ref(line.namespace, line.dag, self.run, task, map_index)
        line.store.append(ref, item.to_dict(), after=0)


def _handles(records: Mapping[str, Record]) -> Iterator[Any]:
    for name, record in records.items():
        yield from find_handles(name, json.loads(json.dumps(record.to_dict())))


def _look(number: int, at: datetime, state: RolloutState, words: str) -> Look:
    spread = 0.5 / number
    arms = {"champion": 100 * number, "challenger": 10 * number}
    return Look(
        number=number, at=at, watermark_at=NOW + timedelta(hours=number), step=state.step,
        weight_percent=state.weight_percent, action="hold", reason=words, effect=-0.01, variance=spread,
        interval=(-0.01 - spread, -0.01 + spread), units=arms, requests=arms, waiting={"champion": 1, "challenger": 0},
        strata=1, data_days=number / 24, sample_ratio_excess=-5.0,
    )  # fmt: skip
