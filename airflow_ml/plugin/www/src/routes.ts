/**
 * The pages' addresses below Airflow's own: `/plugin/ml/<page>?<query>`. Operator links of the Python side build the
 * same ones.
 */

import type { TaskRef } from "./api/types";

export const PAGES = [
  "", "models", "model", "canary", "sweep", "data", "dataset", "snapshot", "run", "task",
] as const;
export type PageName = (typeof PAGES)[number];

const ROOT = "/plugin/ml";

export function page(name: PageName, query: Record<string, string | number | null | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") {
      search.set(key, String(value));
    }
  }
  const asked = search.toString();
  return `${name ? `${ROOT}/${name}` : ROOT}${asked ? `?${asked}` : ""}`;
}

/** A page about one task: its run, and its position where it is mapped. */
export function taskPage(name: "sweep" | "snapshot" | "task", task: TaskRef): string {
  return page(name, {
    dag_id: task.dag_id,
    run_id: task.run_id,
    task_id: task.task_id,
    map_index: task.map_index >= 0 ? task.map_index : null,
  });
}

/** Airflow's own page of a task instance. */
export function airflowTask(task: TaskRef): string {
  const place = `/dags/${encodeURIComponent(task.dag_id)}/runs/${encodeURIComponent(task.run_id)}`;
  const mapped = task.map_index >= 0 ? `/mapped/${task.map_index}` : "";
  return `${place}/tasks/${encodeURIComponent(task.task_id)}${mapped}`;
}

/**
 * The route within Airflow of a page's address, as operator links have it; undefined for any other address. By its path
 * alone: a link keeps the host that Airflow had when the task ran.
 */
export function routeOf(address: string): string | undefined {
  const root = new URL(ROOT.slice(1), document.baseURI).pathname;
  const [, path = "", query = ""] = /^(?:https?:\/\/[^/?#]+)?(\/[^?#]*)(\?[^#]*)?$/.exec(address) ?? [];
  return path.startsWith(`${root}/`) ? ROOT + path.slice(root.length) + query : undefined;
}

/** The page that an address names; the overview for an unknown one. */
export function pageOf(pathname: string): PageName {
  const [, name = ""] = /\/plugin\/[^/]+\/([^/?]+)/.exec(pathname) ?? [];
  return PAGES.find((known) => known === name) ?? "";
}
