/** One component for all places in Airflow: what it gets tells where it is. */

import { QueryClientProvider } from "@tanstack/react-query";
import { Box } from "@chakra-ui/react";
import { Component, type ReactNode } from "react";
import { useLocation, useSearchParams } from "react-router-dom";

import { client } from "./api/queries";
import { Canary } from "./pages/Canary";
import { Data } from "./pages/Data";
import { Dataset } from "./pages/Dataset";
import { Model } from "./pages/Model";
import { Models } from "./pages/Models";
import { Overview } from "./pages/Overview";
import { Run } from "./pages/Run";
import { Snapshot } from "./pages/Snapshot";
import { Sweep } from "./pages/Sweep";
import { Task } from "./pages/Task";
import { pageOf, type PageName } from "./routes";
import { Shell } from "./ui/layout";
import { Failed } from "./ui/state";

/** What Airflow 3.3 gives to a plugin's component. */
export interface HostProps {
  dagId?: string;
  runId?: string;
  taskId?: string;
  mapIndex?: string;
}

export function App({ dagId, runId, taskId, mapIndex }: HostProps) {
  const { pathname } = useLocation();
  let shown: ReactNode = <Navigated />;
  if (dagId && runId) {
    const task = { dag_id: dagId, run_id: runId, task_id: taskId ?? "", map_index: Number(mapIndex ?? -1) };
    shown = <Box py={3} overflowWrap="anywhere">{taskId ? <Task task={task} inTab /> : <Run dag={dagId} run={runId} inTab />}</Box>;
  }
  return (
    <QueryClientProvider client={client}>
      <Guard key={pathname}>{shown}</Guard>
    </QueryClientProvider>
  );
}

/** The pages in the navigation, by their address. */
function Navigated() {
  const { pathname } = useLocation();
  return <Shell>{<Named name={pageOf(pathname)} />}</Shell>;
}

function Named({ name }: { name: PageName }) {
  const [query] = useSearchParams();
  const asked = (key: string) => query.get(key) ?? "";
  const place = { dag: asked("dag_id"), run: asked("run_id"), task: asked("task_id") };
  switch (name) {
    case "models":
      return <Models />;
    case "model":
      return <Model name={asked("model")} />;
    case "canary":
      return <Canary model={asked("model")} epoch={query.get("epoch")} />;
    case "sweep":
      return <Sweep {...place} />;
    case "data":
      return <Data />;
    case "dataset":
      return <Dataset name={asked("name")} />;
    case "snapshot":
      return <Snapshot {...place} />;
    case "run":
      return <Run dag={place.dag} run={place.run} />;
    case "task": {
      const map_index = Number(query.get("map_index") ?? -1);
      return <Task task={{ dag_id: place.dag, run_id: place.run, task_id: place.task, map_index }} />;
    }
    default:
      return <Overview />;
  }
}

/** An error in a page stays in the page, and says what it was. */
class Guard extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    return error ? (
      <Box p={6}>
        <Failed error={new Error(`This page could not be drawn: ${error.message}`)} />
      </Box>
    ) : (
      this.props.children
    );
  }
}
