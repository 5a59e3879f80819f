/**
 * The JSON of the plugin's API, the contract between airflow_ml/plugin/views (Python) and the pages.
 *
 * All routes lie below `<base>/airflow-ml/`, where <base> is the path of [api] base_url ("" or "/team/airflow").
 * Answers are JSON; times are ISO 8601 in UTC ("2026-11-23T15:33:09.892845Z"); quantities carry their unit in the name.
 * Every string may hold anything a user can write: render it as text, never as HTML.
 *
 * Route                                              query                                            answer
 * GET  api/overview                                  -                                                Overview
 * GET  api/dags/{dag_id}/runs                        limit=50 (1-200), offset=0                       RunList
 * GET  api/dags/{dag_id}/run                         run_id                                           RunView
 * GET  api/dags/{dag_id}/diff                        run_id, with_run_id (the earlier one)            RunDiff
 * GET  api/dags/{dag_id}/task                        run_id, task_id, map_index=-1                    TaskView
 * GET  api/dags/{dag_id}/preview                     run_id, task_id, map_index=-1, digest            Table
 * GET  api/dags/{dag_id}/sweep                       run_id, task_id (any task of the sweep)          SweepView
 * GET  api/dags/{dag_id}/sweep/trials                run_id, task_id, sort=rank|<column>, order=asc|desc, status, group,
 *                                                    text (substring of trial, group, reason, params), front=false,
 *                                                    limit=50 (1-200), offset=0                       TrialPage
 * GET  api/dags/{dag_id}/sweep/chart                 run_id, task_id, points=500 (1-2000), group      SweepChart
 * GET  api/dags/{dag_id}/sweep/trial                 run_id, task_id, trial                           TrialView
 * GET  api/dags/{dag_id}/sweep/picture               run_id, task_id, name (of SweepView.pictures)    image/png
 * GET  api/dags/{dag_id}/sweep/csv                   run_id, task_id                                  text/csv, all rows
 * GET  api/models                                    -                                                ModelList
 * GET  api/models/{model}                            -                                                ModelView
 * GET  api/models/{model}/lineage                    version                                          LineageGraph
 * GET  api/rollouts/{model}                          epoch (default: the newest)                      CanaryView
 * POST api/dags/{dag_id}/rollouts/{model}/actions    body CanaryAction; dag_id = CanaryView.owner.dag_id  CanaryActionDone
 * GET  api/datasets                                  -                                                DatasetList
 * GET  api/datasets/{name}                           limit=50 (1-200), offset=0                       DatasetView
 * GET  api/dags/{dag_id}/snapshot                    run_id, task_id (of a snapshot or gate_dataset)  SnapshotView
 * GET  static/{name}                                 v=<digest>                                       a file of www/dist
 *
 * Permissions: everything needs a session. api/dags/{dag_id}/... needs read access to that DAG (the action: permission to
 * edit its task instances, which is what ends a canary by marking it failed). The other routes need the view permission
 * "Plugins", and show only what DAGs made that the user may read.
 *
 * Failures: 401 no session, 403 not allowed, 404 absent or not allowed to know, 409 the action came too late, 422 a bad
 * parameter, 503 the store does not answer or is not configured, 500 anything else. Body: ApiError.
 */

export interface ApiError {
  detail: string;
  /** What can be done about it; "" if nothing is known. */
  remedy: string;
  /** Of a 500: the log of the API server has the cause under this id. */
  error_id?: string;
}

/**
 * A part of a page. The three ways of not being there are different answers: "absent" - the records say that there is
 * none (yet); "unreadable" - they name something that is lost, damaged or too new to be read; "failed" - the store or
 * another system did not answer, try again.
 */
export type Part<T> =
  | { state: "present"; value: T }
  | { state: "absent" | "unreadable" | "failed"; reason: string };

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Utc = string;
/** "sha256:<64 hex>" */
export type Digest = string;

export interface TaskRef {
  dag_id: string;
  run_id: string;
  task_id: string;
  /** -1 for a task that is not mapped. */
  map_index: number;
}

export type Outcome = "succeeded" | "failed" | "skipped";
export type Verdict = "pass" | "warn" | "block" | "error";

/** A line chart's points, or a table's rows: columns of equal length, so that 20,000 values stay small. */
export interface Table {
  columns: { name: string; dtype: string }[];
  /** Row-major; every cell is text, a number, a boolean or null. Long text is cut to 500 characters. */
  rows: (string | number | boolean | null)[][];
  /** Rows in the whole file; `rows` holds the first of them. */
  total_rows: number;
  /** Columns beyond the first 100 are left out. */
  total_columns: number;
}

// ---------------------------------------------------------------------------------------------- overview

export interface Overview {
  now_at: Utc;
  namespace: string;
  user: string;
  health: Health;
  /** Running sweeps, newest first (at most 20). */
  sweeps: RunningSweep[];
  models: ModelRow[];
  /** Last gates and drift reports, newest first (at most 20 each). */
  gates: GateRow[];
  drifts: DriftRow[];
  /** False while this process has not read all recent runs yet: ask again, it goes on where it was. */
  complete: boolean;
  runs_read: number;
}

export interface Health {
  store: {
    state: "ok" | "slow" | "failed" | "absent";
    /** Kind and place without credentials: "folder /data/ml", "s3 bucket/prefix". */
    address: string;
    reason: string;
    read_milliseconds: number | null;
  };
  reconciler: {
    /**
     * ok: ran within 10 minutes; late: did not; needed: a rollout without a leader waits for it; absent: no recent run of
     * a DAG that the user may read is one of it; unknown: not all recent runs have been read yet.
     */
    state: "ok" | "late" | "absent" | "needed" | "unknown";
    reason: string;
    last_run_at: Utc | null;
    task: TaskRef | null;
  };
}

export interface RunningSweep {
  task: TaskRef;
  sweep: Digest;
  function: string;
  metric: string;
  direction: "minimize" | "maximize";
  trials: number;
  finished: number;
  failed: number;
  best: number | null;
  started_at: Utc;
  eta_seconds: number | null;
}

export interface ModelRow {
  name: string;
  /** Version numbers; null where the records name none. */
  champion: string | null;
  challenger: string | null;
  versions: number;
  newest_at: Utc | null;
  rollout: RolloutBrief | null;
  drift: DriftRow | null;
}

/** split: arms answer; shadow: challengers score unheard; aa: the champion is compared with itself. */
export type StepKind = "split" | "shadow" | "aa";

export interface RolloutBrief {
  epoch: number;
  /**
   * created, running, parked (weight 0, waits for an approval), promoted, installed, rolled_back, inconclusive, conflict,
   * concluded (a comparison that promotes nothing)
   */
  state: string;
  live: boolean;
  champion: string;
  /** Version; of several challengers the chosen one, and before one is chosen all of them: "3, 4". */
  challenger: string;
  /** Of the step under way. */
  kind: StepKind;
  weight_percent: number;
  reason: string;
  /** The plan's weights and where it is: -1 before the first step. */
  steps: { weight_percent: number; data_days: number; kind: StepKind }[];
  step: number;
  looks: number;
  started_at: Utc;
  /** Where the owner stopped looking: the lease ran out at that time. */
  lease_expires_at: Utc | null;
  lost: boolean;
  held: boolean;
}

export interface GateRow {
  task: TaskRef;
  kind: "dataset" | "model";
  /** Name of the dataset, or of the model where it is known, else the metric. */
  subject: string;
  verdict: Verdict;
  reason: string;
  checks_run: number;
  checks_failed: number;
  rows: number;
  quarantined: number;
  at: Utc;
}

export interface DriftRow {
  task: TaskRef;
  model: string;
  version: string;
  drifted: boolean;
  reason: string;
  rows: number;
  at: Utc;
}

// ---------------------------------------------------------------------------------------------- runs

export interface RunRow {
  run_id: string;
  started_at: Utc;
  triggered_by: string;
}

export interface RunList {
  dag_id: string;
  total: number;
  runs: RunRow[];
}

export interface RunView {
  dag_id: string;
  run_id: string;
  started_at: Utc;
  triggered_by: string;
  commit: string;
  dirty: string;
  params: { [name: string]: Json };
  /** In the order in which they began. Only tasks that have ended; ask Airflow's own API for those that run. */
  stages: Stage[];
  /** Tasks whose record is damaged, or of a newer release. */
  unreadable: { task: string; reason: string }[];
  /** The runs before this one of the same DAG, newest first (at most 10), to compare with. */
  earlier: RunRow[];
}

export type StageKind =
  | "snapshot" | "gate" | "features" | "sweep" | "selection" | "model_gate" | "registration" | "canary" | "prediction"
  | "monitoring" | "call" | "other";

/** One task, or the mapped ones of one task together. */
export interface Stage {
  kind: StageKind;
  task_id: string;
  /** Of the first instance: -1, or 0 and up. */
  map_index: number;
  instances: number;
  operator: string;
  outcome: Outcome;
  failed_instances: number;
  started_at: Utc;
  ended_at: Utc;
  /** From the first begin to the last end. */
  seconds: number;
  cache: "hit" | "miss" | "";
  verdict: Verdict | "promoted" | "rolled_back" | "inconclusive" | "installed" | "conflict" | "drift" | "no_drift" | null;
  /** One sentence from the record: a gate's reason, a rollout's, an error. "" where there is none. */
  sentence: string;
  figures: Figure[];
  outputs: HandleBrief[];
}

/** A labelled quantity to show beside a stage. */
export interface Figure {
  /** For example "rows", "brier", "trials". */
  name: string;
  value: number | string;
  /** "" for none; "rows", "seconds", "percent", "bytes". */
  unit: string;
}

export interface HandleBrief {
  /** Where it was: "return", "report", "plan" or a field. */
  name: string;
  record: string;
  digest: Digest;
}

export interface RunDiff {
  dag_id: string;
  run_id: string;
  with_run_id: string;
  /** Ranked: what people changed first, what follows from it last. Empty: the runs agree. */
  changes: Change[];
}

export interface Change {
  kind: "features" | "code" | "params" | "environment" | "data" | "outcome" | "metrics";
  /** The first task in which it shows. */
  task: string;
  what: string;
}

// ---------------------------------------------------------------------------------------------- sweep

export interface SweepView {
  task: TaskRef;
  /** Task id of the sweep's group: "train" for train.plan, train.shards, train.collect. */
  group: string;
  sweep: Digest;
  /** running: collect has not ended; succeeded / failed: as collect said. */
  state: "running" | "succeeded" | "failed";
  function: string;
  metric: string;
  direction: "minimize" | "maximize";
  sampler: string;
  pruner: string | null;
  by: string | null;
  groups: number;
  shards: number;
  space: ParamSpec[];
  seed: number;
  progress: {
    trials: number;
    finished: number;
    succeeded: number;
    failed: number;
    timed_out: number;
    killed: number;
    pruned: number;
    lost: number;
    not_run: number;
    /** Sum over trials; how much work it was, not how long it took. */
    trial_seconds: number;
    started_at: Utc | null;
    ended_at: Utc | null;
    eta_seconds: number | null;
    /** Shards that have all their results, and that were stopped early with the reason. */
    shards_done: number;
    stopped: { shard: number; reason: string }[];
  };
  best: BestTrial | null;
  /** What it looks at; the first one decides. */
  objectives: Objective[];
  /**
   * Of several objectives: the trials that no other of their group beats, best first by the one that decides (at most
   * 200). `values` in the order of `objectives`.
   */
  front: { trial: string; group: string; values: (number | null)[] }[];
  /** Pictures that the sweep's own task has drawn, by name. */
  pictures: Part<string[]>;
  /** The best of each group, best first (at most 200). */
  best_by_group: BestTrial[];
  /** Groups in which no trial succeeded (at most 200). */
  groups_without_success: string[];
  /** Best value after each finished trial in the order of trials, thinned to at most 500 points. */
  best_so_far: { finished: number; value: number }[];
  /** Most frequent first (at most 50). */
  failures: { status: string; reason: string; trials: number; example: string }[];
  /** The sentence with which collect failed; "" otherwise. */
  error: string;
}

export interface ParamSpec {
  name: string;
  /** uniform, log_uniform, int_uniform, log_int_uniform, choice */
  distribution: string;
  low: number | null;
  high: number | null;
  /** Of a choice, as JSON. */
  values: Json[];
  /** Of a parameter that only some trials have: which ones, such as `booster is "dart"`; "" for all. */
  when: string;
}

export interface Objective {
  metric: string;
  direction: "minimize" | "maximize";
}

export interface BestTrial {
  trial: string;
  group: string;
  value: number;
  seconds: number | null;
  params: { [name: string]: Json };
}

export interface TrialPage {
  /** Rows that match the filter. */
  total: number;
  offset: number;
  /** Names of the parameters, in order. */
  params: string[];
  /** Names of the metrics, in order. */
  metrics: string[];
  statuses: string[];
  /** The first 1,000 groups. */
  groups: string[];
  trials: TrialRow[];
}

export interface TrialRow {
  trial: string;
  group: string;
  status: string;
  value: number | null;
  seconds: number | null;
  reason: string;
  params: { [name: string]: Json };
  metrics: { [name: string]: number };
  /** Whether no other trial of its group beats it; null for a sweep with one objective. */
  front: boolean | null;
}

export interface SweepChart {
  metric: string;
  direction: "minimize" | "maximize";
  /** Trials that succeeded, and how many of them are in `points`: the best tenth and an even sample of the others. */
  trials: number;
  params: ParamSpec[];
  /** One array per parameter, in the order of `params`, and the value; all of the same length. */
  points: {
    trial: string[]; group: string[]; value: number[]; params: (number | string | boolean | null)[][];
    /** The further objectives, in their order, and whether no other trial beats it; empty for one objective. */
    also: (number | null)[][]; front: boolean[];
  };
  objectives: Objective[];
  /** Share of the variance of the trials' ranks that each parameter explains alone, 0 to 1, largest first; empty below 20 trials. */
  importance: { name: string; share: number }[];
}

export interface TrialView {
  task: TaskRef;
  trial: string;
  group: string;
  shard: number;
  status: string;
  value: number | null;
  seconds: number | null;
  seed: number;
  reason: string;
  traceback: string;
  params: { [name: string]: Json };
  metrics: { [name: string]: number };
  front: boolean | null;
  reports: { step: number; value: number }[];
  /** The task instance whose log holds the trial's output. */
  log: TaskRef;
  reproduce: string;
}

// ---------------------------------------------------------------------------------------------- models

export interface ModelList {
  models: ModelRow[];
}

export interface ModelView {
  name: string;
  links: { mlflow: string | null };
  champion: string | null;
  challenger: string | null;
  previous: string | null;
  /** Newest first. */
  versions: VersionRow[];
  /** Rollouts, newest first. */
  history: PromotionRow[];
  /** One series per metric; x is the version. */
  metrics: { name: string; points: { version: string; value: number }[] }[];
  drift: DriftRow[];
}

export interface VersionRow {
  version: string;
  aliases: string[];
  at: Utc | null;
  made_by: TaskRef | null;
  commit: string;
  view: string;
  view_digest: Digest;
  model_digest: Digest;
  run_id: string;
  features: string[];
  metrics: { [name: string]: number };
  gate: Part<GateDetail>;
  signature: Part<Signature>;
  feature_view: Part<Json>;
  rollout: { epoch: number; outcome: string } | null;
}

export interface Signature {
  inputs: { name: string; dtype: string }[];
  outputs: { name: string; dtype: string }[];
}

export interface GateDetail {
  task: TaskRef;
  kind: "dataset" | "model";
  verdict: Verdict;
  reason: string;
  rows: number;
  quarantined: number;
  checks_run: number;
  checks_failed: number;
  /** All of them where the whole report can be read, else the (at most 10) most telling. */
  checks: Check[];
  at: Utc;
}

export interface Check {
  name: string;
  severity: "critical" | "warning" | "info";
  passed: boolean;
  observed: Json;
  expected: string;
  unexpected_rows: number | null;
}

export interface PromotionRow {
  epoch: number;
  outcome: string;
  cause: string;
  reason: string;
  champion: string;
  challenger: string;
  started_at: Utc;
  ended_at: Utc | null;
  /** Who led it; who acted on it by hand is in `actions`. */
  owner: TaskRef | null;
  actions: ActionRow[];
}

export interface LineageGraph {
  model: string;
  version: string;
  /** depth 0 is the version; negative is what it was made from, positive what was made from it. */
  nodes: { digest: Digest; record: string; label: string; depth: number; made_by: TaskRef; commit: string; at: Utc }[];
  edges: { from: Digest; to: Digest }[];
  /** Records and runs that belong to the graph and are not in it, for their number. */
  nodes_left: number;
  runs_left: number;
  /** How many of the runs that may have used it have been searched; the others are being read. */
  runs_read: number;
  runs: number;
}

// ---------------------------------------------------------------------------------------------- canary

export interface CanaryView {
  model: string;
  namespace: string;
  epoch: number;
  /** Grows with every record: an unchanged sequence means that nothing happened. */
  sequence: number;
  epochs: number[];
  brief: RolloutBrief;
  /** The end that is under way, "" for none. */
  pending: string;
  /** The challenger whose promotion a person asked for; "" where nobody did. */
  promote_arm: string;
  cause: string;
  /** At least one; `stopped` says why an arm answers nothing any more, "" while it does. */
  challengers: { arm: string; version: string; stopped: string; chosen: boolean }[];
  owner: TaskRef | null;
  router: string;
  confirmed: boolean;
  now_at: Utc;
  lease_expires_at: Utc | null;
  watermark_at: Utc | null;
  trouble_since_at: Utc | null;
  plan: CanaryPlan;
  /** Oldest first, thinned to at most 500: changes of step and the last look are kept. */
  looks: LookRow[];
  looks_total: number;
  /** Decisions and changes by hand, newest first (at most 200). */
  log: LogRow[];
  actions: ActionRow[];
  /** Actions that this user may take now; empty for a reader, or an ended rollout. */
  allowed: CanaryActionName[];
  picture: boolean;
}

export interface CanaryPlan {
  metric: string;
  direction: "minimize" | "maximize";
  hypothesis: "superiority" | "non_inferiority";
  margin: number;
  alpha: number;
  min_units: number;
  max_data_days: number;
  expected_effect: number;
  /** Compared at once. */
  challengers: number;
  /** paired_shadow: what decides are differences of two scores of one request. */
  design: "split" | "paired_shadow" | string;
  /** False: a comparison only. */
  promotes: boolean;
  steps: { weight_percent: number; data_days: number; kind: StepKind }[];
  guardrails: { metric: string; margin: number; direction: "minimize" | "maximize" }[];
  /** The effect below (minimize) or above (maximize) which the interval must lie to promote, and the other way to go back. */
  promote_bound: number;
  roll_back_bound: number;
}

export interface LookRow {
  number: number;
  at: Utc;
  watermark_at: Utc | null;
  data_days: number;
  step: number;
  weight_percent: number;
  action: "advance" | "hold" | "promote" | "roll_back" | "inconclusive" | string;
  reason: string;
  /** Challenger minus champion. */
  effect: number | null;
  low: number | null;
  high: number | null;
  units: Counts | null;
  requests: Counts | null;
  waiting: Counts | null;
  /** An alarm from 0 on; null while the split cannot be tested. */
  sample_ratio_excess: number | null;
  guardrails: GuardrailRow[];
  kind: StepKind;
  /** Of several challengers each; the fields above are those of the one that looks best. Empty for one challenger. */
  arms: ArmRow[];
}

/** By arm: champion and challenger always, challenger-2 and so on where there are several. */
export interface Counts {
  [arm: string]: number;
}

export interface GuardrailRow {
  metric: string;
  /** Where it is kept by slice: the worst one. */
  slice: string;
  effect: number | null;
  held: boolean;
  broken: boolean;
}

export interface ArmRow {
  arm: string;
  effect: number | null;
  low: number | null;
  high: number | null;
  units: Counts | null;
  requests: Counts | null;
  /** Shown to be what the plan asks for: guardrails included, and by the metric alone. */
  ready: boolean;
  shown: boolean;
  worse: boolean;
  /** What harm is shown; "" if none is. */
  harm: string;
  guardrails: GuardrailRow[];
}

export interface LogRow {
  sequence: number;
  at: Utc | null;
  state: string;
  weight_percent: number;
  what: string;
  by: string;
}

export type CanaryActionName = "hold" | "resume" | "roll_back" | "approve" | "promote";

export interface ActionRow {
  action: CanaryActionName | string;
  by: string;
  reason: string;
  at: Utc | null;
}

export interface CanaryAction {
  action: CanaryActionName;
  /** 3 to 500 characters. */
  reason: string;
  /** CanaryView.epoch: the rollout that the user saw. */
  epoch: number;
  /** Of several challengers the one to promote. */
  arm?: string;
}

export interface CanaryActionDone {
  action: CanaryActionName;
  sequence: number;
  /** What is true now, in a sentence. */
  result: string;
}

// ---------------------------------------------------------------------------------------------- data

export interface DatasetList {
  datasets: { name: string; snapshots: number; newest: SnapshotRow }[];
}

export interface DatasetView {
  name: string;
  total: number;
  /** Newest first. */
  snapshots: SnapshotRow[];
  /** Drift of models trained on it, oldest first: value over threshold by column (the 20 columns that moved most). */
  drift: { at: Utc; model: string; version: string; columns: { name: string; statistic: string; value: number;
    threshold: number; drifted: boolean }[] }[];
}

export interface SnapshotRow {
  task: TaskRef;
  name: string;
  digest: Digest;
  as_of: Utc;
  rows: number;
  columns: number;
  size_bytes: number;
  consistency: string;
  source: string;
  made_at: Utc;
  gate: { verdict: Verdict; checks_failed: number; checks_run: number; quarantined: number; task: TaskRef } | null;
}

export interface SnapshotView {
  row: SnapshotRow;
  statement_id: string;
  query_history: string | null;
  /** From the Parquet file's own statistics and, up to 200,000 rows, from its values. */
  profile: Part<ColumnProfile[]>;
  /** "file": counts of the whole file from its footer; "values": all rows were read. */
  profile_from: "values" | "file";
  preview: Part<Table>;
  gate: Part<GateDetail>;
  /** The first 50 rows that were set aside. */
  quarantine: Part<Table>;
}

export interface ColumnProfile {
  name: string;
  dtype: string;
  nulls: number | null;
  distinct: number | null;
  minimum: string | number | null;
  maximum: string | number | null;
  mean: number | null;
  /** Of numbers: 20 bins of equal width from minimum to maximum; of others the most frequent values. */
  histogram: { counts: number[]; low: number; high: number } | null;
  frequent: { value: string; rows: number }[] | null;
}

// ---------------------------------------------------------------------------------------------- task instance

export interface TaskView {
  task: TaskRef;
  operator: string;
  outcome: Outcome;
  try_number: number;
  attempts: { sequence: number; try_number: number; outcome: Outcome; started_at: Utc; ended_at: Utc; error: string }[];
  started_at: Utc;
  ended_at: Utc;
  seconds: number;
  inputs: HandleView[];
  outputs: HandleView[];
  settings: { [name: string]: Json };
  params: { [name: string]: Json };
  returned: Json;
  cache: { verdict: "hit" | "miss" | "off"; changed: string[]; nearest: TaskRef | null };
  /** What a gate decided and saw; null for a task that is none. */
  gate: GateDetail | null;
  failure: Failure | null;
  reproduce: { command: string; why_not: string };
  provenance: {
    airflow_ml: string;
    python: string;
    platform: string;
    cpu: string;
    cpus: number;
    environment: Digest;
    commit: string;
    branch: string;
    dirty: string;
    bundle: string;
    bundle_version: string;
    seed: number | null;
    function: string;
    function_digest: string;
    statements: string[];
    triggered_by: string;
  };
}

export interface HandleView extends HandleBrief {
  /** The record itself; null where it was too large to be kept, or held a secret. */
  value: Json;
  /** A Parquet artifact in it that `preview` can show. */
  previews: { name: string; digest: Digest; rows: number | null }[];
}

export interface Failure {
  /** Class of the error: "GateBlocked". */
  error: string;
  message: string;
  /** user: mend code, data or settings. system: the same run may succeed again. unknown: not one of ours. */
  class: "user" | "system" | "unknown";
  /** What helps, in a sentence; "" if nothing is known. */
  remedy: string;
  retryable: boolean;
  /** Why calls elsewhere ended without success, by rows of the failure table, the most frequent first. */
  causes: { name: string; meaning: string; remedy: string; retryable: boolean }[];
}
