import { describe, expect, it } from "vitest";

import { airflowTask, page, pageOf, routeOf, taskPage } from "./routes";

const TASK = { dag_id: "a/b c", run_id: "manual__2026-01-01T00:00:00+00:00", task_id: "train.shards", map_index: 3 };

describe("addresses", () => {
  it("carry names of any letters", () => {
    expect(page("")).toBe("/plugin/ml");
    expect(page("model", { model: "a&b=c/ü", empty: "" })).toBe("/plugin/ml/model?model=a%26b%3Dc%2F%C3%BC");
    const [, query] = taskPage("sweep", TASK).split("?");
    expect(Object.fromEntries(new URLSearchParams(query))).toEqual({
      dag_id: TASK.dag_id, run_id: TASK.run_id, task_id: TASK.task_id, map_index: "3",
    });
    expect(airflowTask(TASK)).toBe(
      "/dags/a%2Fb%20c/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/train.shards/mapped/3",
    );
    expect(airflowTask({ ...TASK, map_index: -1 })).not.toContain("mapped");
  });

  it("of operator links are routes where they are the pages' own", () => {
    const here = document.baseURI;
    expect(routeOf(`${here}plugin/ml/sweep?run_id=a%2Bb`)).toBe("/plugin/ml/sweep?run_id=a%2Bb");
    expect(routeOf("https://airflow-of-before.example/plugin/ml/data")).toBe("/plugin/ml/data");
    expect(routeOf("/plugin/ml/model?model=m")).toBe("/plugin/ml/model?model=m");
    const others = [
      "", `${here}plugin/mlx/sweep`, `${here}dags`, "javascript:alert(1)", "javascript:/plugin/ml/x", "//evil/plugin/ml/", "plugin/ml/data",
    ];
    for (const other of others) {
      expect(routeOf(other)).toBeUndefined();
    }
  });

  it("name their page", () => {
    expect(pageOf("/plugin/ml")).toBe("");
    expect(pageOf("/plugin/ml/canary")).toBe("canary");
    expect(pageOf("/team/airflow/plugin/ml/dataset/")).toBe("dataset");
    expect(pageOf("/plugin/ml/unknown")).toBe("");
  });
});
