/** What each page asks, how often it asks again, and what is kept between pages. */

import { keepPreviousData, QueryClient, useQuery, type UseQueryResult } from "@tanstack/react-query";

import { airflowLinks, airflowTask, airflowTasks, ApiFailure, get, segment, type OpenTask, type Query } from "./client";
import type {
  CanaryView, DatasetList, DatasetView, LineageGraph, ModelList, ModelView, Overview, RunDiff, RunList, RunRow, RunView,
  SnapshotView, SweepChart, SweepView, Table, TaskRef, TaskView, TrialPage, TrialView,
} from "./types";

const LIVE_MILLISECONDS = 5_000;
const IDLE_MILLISECONDS = 30_000;
const RUNS_OF_A_PAGE = 200;

/** One for all mounts: Airflow mounts the component anew at each change of the path. */
export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 4_000,
      gcTime: 300_000,
      // What the server decided stays decided; only what may pass is tried again.
      retry: (failures, error) =>
        failures < 2 && error instanceof ApiFailure && (error.status === 0 || error.status >= 500),
      retryDelay: (failures) => 500 * 2 ** failures,
    },
  },
});

interface Options<T> {
  every?: number | ((value: T | undefined) => number | false);
  enabled?: boolean;
  keep?: boolean;
}

function useGet<T>(path: string, query: Query = {}, options: Options<T> = {}): UseQueryResult<T> {
  const { every, enabled = true, keep = false } = options;
  return useQuery<T>({
    queryKey: [path, query],
    queryFn: ({ signal }) => get<T>(path, query, signal),
    enabled,
    refetchInterval: ({ state: { data, error } }) => {
      // What is not there, or may not be seen, does not come by asking again and again.
      const refused = data === undefined && error instanceof ApiFailure && [403, 404].includes(error.status);
      return refused ? false : typeof every === "function" ? every(data) : (every ?? false);
    },
    ...(keep && { placeholderData: keepPreviousData }),
  });
}

/** A server that has not read all recent runs yet says so, and goes on where it was when it is asked again. */
export const useOverview = () =>
  useGet<Overview>("overview", {}, { every: (view) => (view?.complete === false ? 1_500 : 15_000) });
export const useModels = () => useGet<ModelList>("models", {}, { every: IDLE_MILLISECONDS });
export const useModel = (model: string) => useGet<ModelView>(`models/${segment(model)}`, {}, { every: IDLE_MILLISECONDS });
export const useLineage = (model: string, version: string) =>
  useGet<LineageGraph>(
    `models/${segment(model)}/lineage`,
    { version },
    { every: (graph) => (graph !== undefined && graph.runs_read < graph.runs ? 2_000 : false) },
  );

export const useCanary = (model: string, epoch: string | null) =>
  useGet<CanaryView>(
    `rollouts/${segment(model)}`,
    { epoch },
    { every: (view) => (view === undefined || view.brief.live ? LIVE_MILLISECONDS : false), keep: true },
  );

export const useDatasets = () => useGet<DatasetList>("datasets");
export const useDataset = (name: string, offset: number) =>
  useGet<DatasetView>(`datasets/${segment(name)}`, { limit: 50, offset }, { keep: true });
export const useSnapshot = (dag: string, run: string, task: string) =>
  useGet<SnapshotView>(`dags/${segment(dag)}/snapshot`, { run_id: run, task_id: task });

/** All runs of a DAG that the server knows by name: the newest 2,000. */
export const useRuns = (dag: string, enabled: boolean) =>
  useQuery<RunRow[]>({
    queryKey: ["all runs", dag],
    queryFn: async ({ signal }) => {
      const path = `dags/${segment(dag)}/runs`;
      const first = await get<RunList>(path, { limit: RUNS_OF_A_PAGE }, signal);
      const pages = Math.ceil(first.total / RUNS_OF_A_PAGE);
      const others = Array.from({ length: Math.max(0, pages - 1) }, (_, at) =>
        get<RunList>(path, { limit: RUNS_OF_A_PAGE, offset: (at + 1) * RUNS_OF_A_PAGE }, signal),
      );
      return [first, ...(await Promise.all(others))].flatMap((list) => list.runs);
    },
    enabled,
  });
export const useRun = (dag: string, run: string) =>
  useGet<RunView>(`dags/${segment(dag)}/run`, { run_id: run }, { every: 15_000 });
/** Tasks of a run that Airflow has begun or will begin. */
export const useOpenTasks = (dag: string, run: string) =>
  useQuery<OpenTask[]>({
    queryKey: ["airflow", dag, run],
    queryFn: ({ signal }) => airflowTasks(dag, run, signal),
    refetchInterval: 15_000,
    retry: false,
  });
/** A task without a record; asked again while it may still write one. */
export const useAirflowTask = (task: TaskRef) =>
  useQuery({
    queryKey: ["airflow task", task],
    queryFn: ({ signal }) => airflowTask(task, signal),
    refetchInterval: LIVE_MILLISECONDS,
    retry: false,
  });
export const useAirflowLinks = (task: TaskRef) =>
  useQuery({
    queryKey: ["airflow links", task],
    queryFn: ({ signal }) => airflowLinks(task, signal),
    staleTime: 60_000,
    retry: false,
  });
export const useDiff = (dag: string, run: string, other: string | null) =>
  useGet<RunDiff>(`dags/${segment(dag)}/diff`, { run_id: run, with_run_id: other }, { enabled: Boolean(other) });

export const useTask = (task: TaskRef) =>
  useGet<TaskView>(`dags/${segment(task.dag_id)}/task`, place(task), { every: IDLE_MILLISECONDS });
export const usePreview = (task: TaskRef, digest: string, enabled: boolean) =>
  useGet<Table>(`dags/${segment(task.dag_id)}/preview`, { ...place(task), digest }, { enabled });

export const useSweep = (dag: string, run: string, task: string) =>
  useGet<SweepView>(
    `dags/${segment(dag)}/sweep`,
    { run_id: run, task_id: task },
    { every: (view) => (view === undefined || view.state === "running" ? LIVE_MILLISECONDS : false) },
  );
export const useTrials = (dag: string, query: Query, running: boolean) =>
  useGet<TrialPage>(`dags/${segment(dag)}/sweep/trials`, query, { keep: true, every: running ? 15_000 : () => false });
export const useChart = (dag: string, run: string, task: string, group: string) =>
  useGet<SweepChart>(
    `dags/${segment(dag)}/sweep/chart`,
    { run_id: run, task_id: task, points: 500, group },
    { keep: true },
  );
export const useTrial = (dag: string, run: string, task: string, trial: string) =>
  useGet<TrialView>(`dags/${segment(dag)}/sweep/trial`, { run_id: run, task_id: task, trial });

function place(task: TaskRef): Query {
  return { run_id: task.run_id, task_id: task.task_id, map_index: task.map_index >= 0 ? task.map_index : null };
}
