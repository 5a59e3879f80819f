/** A task or a run without a record: what Airflow itself knows about it, and why nothing more is told here. */

import { useAirflowTask, useOpenTasks } from "../api/queries";
import type { TaskRef } from "../api/types";
import { words } from "../format/text";
import { Empty } from "./state";
import { Mark, TaskLink } from "./words";

const WHY: Record<string, string> = {
  success: "It wrote no record. Tasks of airflow-ml do; this one is another operator's, or the store was away when it ended.",
  failed:
    "It wrote no record. Either it is another operator's task, or it was killed before it could write one, for its memory for example. Its log in Airflow has what is left.",
  skipped: "It was skipped before it began.",
  upstream_failed: "A task before it failed, so it never began.",
  removed: "The DAG no longer has it.",
};
const OPEN = "It writes its record when it ends; its inputs, outputs and verdicts stand here then.";

export function UnrecordedTask({ task }: { task: TaskRef }) {
  const known = useAirflowTask(task);
  if (known.isPending) {
    return <Empty>Nothing is recorded of this task yet.</Empty>;
  }
  const state = known.data?.state;
  return (
    <Empty hint={known.isError ? "There is no such task, or you may not see it." : (WHY[state ?? ""] ?? OPEN)}>
      Nothing is recorded of <TaskLink task={task} />{state && <>. In Airflow it is <Mark of={state}>{words(state)}</Mark></>}
    </Empty>
  );
}

export function UnrecordedRun({ dag, run }: { dag: string; run: string }) {
  const open = useOpenTasks(dag, run);
  const running = open.data?.length ? "Its tasks write theirs when they end; they stand here then." : "";
  return (
    <Empty hint={running || "Tasks of airflow-ml write records, and this run has none of them, or you may not see it."}>
      Nothing is recorded of this run.
    </Empty>
  );
}
