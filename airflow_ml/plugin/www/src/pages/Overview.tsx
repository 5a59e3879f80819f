/** What runs, what serves, what was decided lately, and whether the house is in order. */

import { Grid as Columns, GridItem, Progress, Text } from "@chakra-ui/react";

import { useOverview } from "../api/queries";
import type { DriftRow, GateRow, Health, RunningSweep } from "../api/types";
import { count, number, percent } from "../format/number";
import { duration } from "../format/time";
import { page, taskPage } from "../routes";
import { Grid, type Column } from "../ui/grid";
import { Below, Page, Section, To } from "../ui/layout";
import { ModelTable } from "../ui/models";
import { Empty, Load } from "../ui/state";
import { Mark, TaskLink, Time } from "../ui/words";

export function Overview() {
  const overview = useOverview();
  return (
    <Page
      title="Machine learning"
      facts={overview.data && <>Namespace {overview.data.namespace}, seen as {overview.data.user}</>}
      actions={overview.data && <HealthMarks health={overview.data.health} />}
    >
      <Load query={overview} lines={12}>
        {(value) => (
          <>
            <HealthNotes health={value.health} rollouts={value.models.some((row) => row.rollout)} />
            {!value.complete && (
              <Text role="status" fontSize="xs" color="fg.muted" mb={3}>{`${count(value.runs_read)} runs read, more will stand here in a moment.`}</Text>
            )}
            <Section title="Models" aside={<To to={page("models")}>All models</To>}>
              <ModelTable
                rows={value.models}
                none="There is no model yet."
                hint="A model stands here once register_model has made its first version."
              />
            </Section>
            <Below>
              <Section title="Running sweeps" aside={count(value.sweeps.length)}>
                <Sweeps rows={value.sweeps} />
              </Section>
              <Columns templateColumns={{ base: "minmax(0, 1fr)", xl: "repeat(2, minmax(0, 1fr))" }} columnGap={4}>
                <GridItem>
                  <Section title="Last gates">
                    <Gates rows={value.gates} />
                  </Section>
                </GridItem>
                <GridItem>
                  <Section title="Last drift reports">
                    <Drifts rows={value.drifts} />
                  </Section>
                </GridItem>
              </Columns>
            </Below>
          </>
        )}
      </Load>
    </Page>
  );
}

function HealthMarks({ health }: { health: Health }) {
  const { store, reconciler } = health;
  return (
    <>
      <Text fontSize="xs" color="fg.muted" title={store.address}>
        Store <Mark of={store.state} />
        {store.read_milliseconds !== null && ` ${number(store.read_milliseconds, 2)} ms`}
      </Text>
      <Text fontSize="xs" color="fg.muted" title={reconciler.reason}>
        Reconciler <Mark of={reconciler.state} />{" "}
        {reconciler.last_run_at && <Time at={reconciler.last_run_at} ago />}
      </Text>
    </>
  );
}

/** What is not in order, in its own words. Nothing to lead needs no reconciler. */
function HealthNotes({ health, rollouts }: { health: Health; rollouts: boolean }) {
  const { store, reconciler } = health;
  const wanted = rollouts ? ["late", "needed", "absent"] : ["late", "needed"];
  const notes = [
    store.state === "ok" ? "" : `Store ${store.address}: ${store.reason}`,
    wanted.includes(reconciler.state) ? `Reconciler: ${reconciler.reason}` : "",
  ].filter(Boolean);
  return notes.map((note) => (
    <Text key={note} role="status" fontSize="sm" color="orange.fg" mb={3} overflowWrap="anywhere">
      {note}
    </Text>
  ));
}

const SWEEPS: readonly Column<RunningSweep>[] = [
  {
    key: "function", label: "Sweep", width: "8rem",
    cell: (row) => <To to={taskPage("sweep", row.task)}>{row.function}</To>,
  },
  { key: "task", label: "Task", width: "9rem", cell: (row) => <TaskLink task={row.task} /> },
  {
    key: "progress", label: "Progress", width: "11rem",
    cell: (row) => (
      <Progress.Root value={row.finished} max={Math.max(row.trials, 1)} size="xs" colorPalette="blue" aria-label="Trials finished">
        <Progress.ValueText fontSize="xs">
          {count(row.finished)} of {count(row.trials)} ({percent(row.finished / Math.max(row.trials, 1))})
        </Progress.ValueText>
        <Progress.Track>
          <Progress.Range />
        </Progress.Track>
      </Progress.Root>
    ),
  },
  { key: "failed", label: "Failed", figure: true, cell: (row) => count(row.failed) },
  { key: "best", label: "Best", figure: true, cell: (row) => `${row.metric} ${number(row.best)}` },
  { key: "eta", label: "Left", figure: true, cell: (row) => duration(row.eta_seconds) },
  { key: "started", label: "Started", figure: true, cell: (row) => <Time at={row.started_at} ago /> },
];

function Sweeps({ rows }: { rows: readonly RunningSweep[] }) {
  if (!rows.length) {
    return <Empty hint="Finished ones are on the pages of their runs.">No sweep is running.</Empty>;
  }
  return <Grid columns={SWEEPS} rows={rows} rowKey={(row, at) => `${row.sweep}${at}`} label="Running sweeps" />;
}

const GATES: readonly Column<GateRow>[] = [
  { key: "verdict", label: "Verdict", cell: (row) => <Mark of={row.verdict} /> },
  { key: "subject", label: "Of", width: "9.5rem", cell: (row) => <To to={taskPage("task", row.task)}>{row.subject}</To> },
  { key: "reason", label: "Reason", width: "10rem", cell: (row) => row.reason },
  {
    key: "checks", label: "Failed", figure: true,
    cell: (row) => `${count(row.checks_failed)} of ${count(row.checks_run)}`,
  },
  { key: "at", label: "When", figure: true, cell: (row) => <Time at={row.at} ago /> },
];

function Gates({ rows }: { rows: readonly GateRow[] }) {
  if (!rows.length) {
    return <Empty hint="A verdict stands here once gate_dataset or gate_model has run.">No gate has decided yet.</Empty>;
  }
  return <Grid columns={GATES} rows={rows} rowKey={(row, at) => `${row.at}${at}`} label="Last gates" />;
}

const DRIFTS: readonly Column<DriftRow>[] = [
  { key: "drifted", label: "Drift", cell: (row) => <Mark of={row.drifted ? "drift" : "no_drift"} /> },
  {
    key: "model", label: "Model", width: "9rem",
    cell: (row) => <To to={page("model", { model: row.model })}>{`${row.model} ${row.version}`}</To>,
  },
  { key: "reason", label: "Reason", width: "10rem", cell: (row) => row.reason },
  { key: "rows", label: "Rows", figure: true, cell: (row) => count(row.rows) },
  { key: "at", label: "When", figure: true, cell: (row) => <Time at={row.at} ago /> },
];

function Drifts({ rows }: { rows: readonly DriftRow[] }) {
  if (!rows.length) {
    return <Empty hint="monitor compares what a model scores with what it learned from.">No drift was measured yet.</Empty>;
  }
  return <Grid columns={DRIFTS} rows={rows} rowKey={(row, at) => `${row.at}${at}`} label="Last drift reports" />;
}
