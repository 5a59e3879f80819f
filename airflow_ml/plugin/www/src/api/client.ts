/** Asking the plugin's API: same origin, under Airflow's base path, with Airflow's own session. */

import type { ApiError, TaskRef } from "./types";

export type Query = Record<string, string | number | null | undefined>;

/** An answer that is not the one asked for, with what can be done about it. */
export class ApiFailure extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly remedy: string,
    readonly errorId: string,
  ) {
    super(message);
    this.name = "ApiFailure";
  }
}

/** Return the address of a route; values that are absent are left out of the query. */
export function apiUrl(path: string, query: Query = {}): string {
  const url = new URL(`airflow-ml/api/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") {
      url.searchParams.set(name, String(value));
    }
  }
  return url.href;
}

/** A name as one segment of a path. */
export function segment(name: string): string {
  return encodeURIComponent(name);
}

/**
 * Ask a route. With no header of its own: a browser gives what it fetched ahead, because the page's own headers named it
 * (plugin/preload.py), only to a request that is the same in every header.
 */
export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return answer<T>(await reach(apiUrl(path, query), signal ? { signal } : {}));
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { accept: "application/json", "content-type": "application/json" };
  return answer<T>(await reach(apiUrl(path), { method: "POST", headers, body: JSON.stringify(body) }));
}

/** A task instance as Airflow's own API tells it. */
export interface OpenTask extends TaskRef {
  state: string;
}

/** Ask Airflow for the tasks of a run that have not ended. */
export async function airflowTasks(dag: string, run: string, signal: AbortSignal): Promise<OpenTask[]> {
  const url = new URL(`api/v2/dags/${segment(dag)}/dagRuns/${segment(run)}/taskInstances`, document.baseURI);
  for (const state of ["running", "deferred", "queued", "scheduled", "restarting", "up_for_retry", "up_for_reschedule"]) {
    url.searchParams.append("state", state);
  }
  url.searchParams.set("limit", "100");
  const found = await answer<{
    task_instances?: { task_id: string; map_index: number; state: string | null }[];
  }>(await reach(url.href, { headers: { accept: "application/json" }, signal }));
  return (found.task_instances ?? []).map((one) => ({
    dag_id: dag, run_id: run, task_id: one.task_id, map_index: one.map_index, state: one.state ?? "scheduled",
  }));
}

/** What Airflow itself knows of one task instance. */
export async function airflowTask(task: TaskRef, signal: AbortSignal): Promise<{ state: string | null }> {
  const place = `api/v2/dags/${segment(task.dag_id)}/dagRuns/${segment(task.run_id)}/taskInstances/${segment(task.task_id)}`;
  const url = new URL(task.map_index >= 0 ? `${place}/${task.map_index}` : place, document.baseURI);
  const found = await answer<{ state?: string | null }>(
    await reach(url.href, { headers: { accept: "application/json" }, signal }),
  );
  return { state: found.state ?? null };
}

/** The links that a task has in Airflow, while it runs as well: its operator's own pages, MLflow, the warehouse. */
export async function airflowLinks(task: TaskRef, signal: AbortSignal): Promise<Record<string, string | null>> {
  const place = `api/v2/dags/${segment(task.dag_id)}/dagRuns/${segment(task.run_id)}/taskInstances/${segment(task.task_id)}/links`;
  const url = new URL(place, document.baseURI);
  url.searchParams.set("map_index", String(task.map_index));
  const found = await answer<{ extra_links?: Record<string, string | null> }>(
    await reach(url.href, { headers: { accept: "application/json" }, signal }),
  );
  return found.extra_links ?? {};
}

async function reach(url: string, options: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    throw new ApiFailure(0, "Airflow's API server does not answer.", "Check the connection, then try again.", "");
  }
}

async function answer<T>(response: Response): Promise<T> {
  const body: unknown = await response.json().catch(() => null);
  if (response.ok && body !== null) {
    return body as T;
  }
  const said = (body ?? {}) as Partial<ApiError>;
  const known = KNOWN[response.status] ?? [`The API server answered ${response.status}.`, "Try again."];
  throw new ApiFailure(
    response.status,
    typeof said.detail === "string" && said.detail && said.detail !== "Not found" ? said.detail : known[0],
    typeof said.remedy === "string" && said.remedy ? said.remedy : known[1],
    typeof said.error_id === "string" ? said.error_id : "",
  );
}

const KNOWN: Record<number, readonly [string, string]> = {
  401: ["Your session has ended.", "Sign in to Airflow again."],
  403: ["You may not see this.", "Ask whoever administers Airflow for access to the DAG or to the plugin's pages."],
  404: ["There is no such thing, or you may not see it.", ""],
};
