/** One DAG run as its records, stage by stage, and what differs from another run. */

import { Box, HStack, Text } from "@chakra-ui/react";

import { useOpenTasks, useRun } from "../api/queries";
import type { OpenTask } from "../api/client";
import type { RunView, Stage } from "../api/types";
import { count, quantity } from "../format/number";
import { inline, sentence, shortDigest, words } from "../format/text";
import { duration } from "../format/time";
import { page, taskPage } from "../routes";
import { Facts } from "../ui/facts";
import { Grid, type Column } from "../ui/grid";
import { Below, Page, Section, To } from "../ui/layout";
import { Empty, Load } from "../ui/state";
import { UnrecordedRun } from "../ui/unrecorded";
import { FIGURES, Mark, TaskLink, Time } from "../ui/words";
import { Compare } from "./run/Compare";

interface Props {
  dag: string;
  run: string;
  inTab?: boolean;
}

export function Run({ dag, run, inTab = false }: Props) {
  const view = useRun(dag, run);
  const whole = <Load query={view} lines={12} missing={<UnrecordedRun dag={dag} run={run} />}>{(value) => <Whole view={value} />}</Load>;
  if (inTab) {
    return whole;
  }
  return (
    <Page
      title={run}
      crumbs={[{ label: "Overview", to: page("") }]}
      facts={<><To to={`/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}`}>{dag}</To>{view.data && <> · <Time at={view.data.started_at} /></>}</>}
    >
      {whole}
    </Page>
  );
}

function Whole({ view }: { view: RunView }) {
  const open = useOpenTasks(view.dag_id, view.run_id).data ?? [];
  const columns = stageColumns(view, open);
  return (
    <>
      <Section title="Stages" aside={<span>{`commit ${view.commit.slice(0, 12) || "unknown"}${view.dirty === "yes" ? ", with changes" : ""}`}</span>}>
        {view.stages.length ? (
          <Grid columns={columns} rows={view.stages} rowKey={(stage) => stage.task_id} label="Stages" />
        ) : (
          <Empty hint="A stage stands here when its first task has ended.">No stage has ended yet.</Empty>
        )}
        <OpenTasks view={view} open={open} />
        {view.unreadable.map((one) => (
          <Text key={one.task} role="status" fontSize="xs" color="orange.fg" mt={2}>{`${one.task} cannot be read: ${one.reason}`}</Text>
        ))}
      </Section>
      <Below>
        <Compare view={view} />
        <Section title="Run">
          <Facts
            items={[
              { label: "Started", value: <Time at={view.started_at} /> },
              { label: "Triggered by", value: view.triggered_by || "–" },
              { label: "Commit", value: `${view.commit || "unknown"}${view.dirty === "yes" ? ", tracked files differed from it" : ""}` },
              ...Object.entries(view.params).map(([name, value]) => ({ label: `Param ${name}`, value: inline(value, 500) })),
            ]}
          />
        </Section>
      </Below>
    </>
  );
}

/** Tasks that have no records yet, as Airflow knows them. */
function OpenTasks({ view, open }: { view: RunView; open: readonly OpenTask[] }) {
  const known = new Set(view.stages.map((stage) => stage.task_id));
  const rows = together(open.filter((one) => !known.has(one.task_id)));
  if (!rows.length) {
    return null;
  }
  return (
    <HStack gap={3} mt={3} fontSize="xs" color="fg.muted" wrap="wrap">
      <span>Not ended yet:</span>
      {rows.slice(0, 12).map(({ one, instances }) => (
        <HStack key={`${one.task_id} ${one.state}`} gap={1.5}>
          <TaskLink task={one}>{one.task_id}</TaskLink>
          {instances > 1 && <span>{`× ${count(instances)}`}</span>}
          <Mark of={one.state === "deferred" ? "running" : one.state}>{words(one.state)}</Mark>
        </HStack>
      ))}
      {rows.length > 12 && <span>{`and ${count(rows.length - 12)} more`}</span>}
    </HStack>
  );
}

/** Instances of a mapped task in one state as one; it leads to the task. */
function together(open: readonly OpenTask[]): { one: OpenTask; instances: number }[] {
  const groups = new Map<string, { one: OpenTask; instances: number }>();
  for (const one of open) {
    const key = `${one.task_id} ${one.state}`;
    const known = groups.get(key);
    groups.set(key, known ? { one: { ...one, map_index: -1 }, instances: known.instances + 1 } : { one, instances: 1 });
  }
  return [...groups.values()];
}

/** A planned sweep goes on while its shards do, whose group has the plan's name before the dot. */
function goesOn(stage: Stage, open: readonly OpenTask[]): boolean {
  const [group, plan] = splitLast(stage.task_id);
  return stage.kind === "sweep" && plan === "plan" && open.some((one) => splitLast(one.task_id)[0] === group);
}

/** Of a mapped task, or one that is tried again, those that have no record of this try yet. */
function instancesOf(stage: Stage, open: readonly OpenTask[]): number {
  return open.filter((one) => one.task_id === stage.task_id).length;
}

function splitLast(name: string): [string, string] {
  const dot = name.lastIndexOf(".");
  return [name.slice(0, Math.max(0, dot)), name.slice(dot + 1)];
}

function stageColumns(view: RunView, open: readonly OpenTask[]): Column<Stage>[] {
  const begin = Math.min(...view.stages.map((stage) => Date.parse(stage.started_at)));
  const end = Math.max(...view.stages.map((stage) => Date.parse(stage.ended_at)));
  const place = (stage: Stage) => ({
    dag_id: view.dag_id, run_id: view.run_id, task_id: stage.task_id, map_index: stage.map_index,
  });
  return [
    {
      key: "stage", label: "Stage", width: "9rem",
      cell: (stage) => (
        <>
          <Text fontWeight="medium">{sentence(stage.kind)}</Text>
          <Text fontSize="xs"><To to={taskPage("task", place(stage))}>{stage.task_id}</To>{stage.instances > 1 && <Text as="span" color="fg.muted">{` × ${count(stage.instances)}`}</Text>}</Text>
        </>
      ),
    },
    {
      key: "verdict", label: "Verdict", width: "6rem",
      cell: (stage) => (
        <HStack gap={1.5} wrap="wrap">
          <Mark of={goesOn(stage, open) ? "running" : (stage.verdict ?? stage.outcome)} />
          {instancesOf(stage, open) > 0 && <Mark of="running">{`${count(instancesOf(stage, open))} not ended`}</Mark>}
          {stage.cache && <Mark of={stage.cache === "hit" ? "hit" : "plain"}>{`cache ${stage.cache}`}</Mark>}
          {stage.failed_instances > 0 && stage.instances > 1 && <Mark of="failed">{`${count(stage.failed_instances)} failed`}</Mark>}
        </HStack>
      ),
    },
    {
      key: "figures", label: "Figures", width: "12rem",
      cell: (stage) => (
        <>
          <HStack gap={4} wrap="wrap" rowGap={0}>
            {stage.figures.map((figure) => (
              <Text key={figure.name} as="span" whiteSpace="nowrap" {...FIGURES}>
                <Text as="span" color="fg.muted" fontSize="xs">{words(figure.name)} </Text>
                {quantity(figure.value, figure.unit)}
              </Text>
            ))}
          </HStack>
          {stage.sentence && <Text fontSize="xs" color="fg.muted">{stage.sentence}</Text>}
        </>
      ),
    },
    { key: "records", label: "Made", width: "7.5rem", cell: (stage) => <Made stage={stage} to={place(stage)} /> },
    {
      key: "time", label: "Took", width: "6rem",
      cell: (stage) => (
        <>
          <Text whiteSpace="nowrap">{duration(stage.seconds)}</Text>
          <Box title={`${stage.started_at} to ${stage.ended_at}`} aria-hidden>
            <Box position="relative" height="5px" bg="bg.muted" borderRadius="full">
              <Box
                position="absolute" height="5px" borderRadius="full" bg="blue.solid" minW="3px"
                style={span(stage, begin, end)}
              />
            </Box>
          </Box>
        </>
      ),
    },
    { key: "ended", label: "Ended", end: true, width: "6.5rem", cell: (stage) => <Time at={stage.ended_at} wraps /> },
  ];
}

function span(stage: Stage, begin: number, end: number): { insetInlineStart: string; width: string } {
  const whole = Math.max(1, end - begin);
  const from = (100 * (Date.parse(stage.started_at) - begin)) / whole;
  const width = (100 * (Date.parse(stage.ended_at) - Date.parse(stage.started_at))) / whole;
  return { insetInlineStart: `min(${from}%, calc(100% - 3px))`, width: `${width}%` };
}

const PAGE_OF: Partial<Record<Stage["kind"], "sweep" | "snapshot">> = { sweep: "sweep", snapshot: "snapshot", gate: "snapshot" };

/** Of a sweep's tasks those that made one of these lead to its page. */
const OF_A_SWEEP: readonly string[] = ["SweepPlan", "Leaderboard"];

function Made({ stage, to }: { stage: Stage; to: Parameters<typeof taskPage>[1] }) {
  const own = PAGE_OF[stage.kind];
  const shown = own !== "sweep" || stage.outputs.some((output) => OF_A_SWEEP.includes(output.record));
  const records = stage.outputs.slice(0, 4);
  return (
    <Box fontSize="xs">
      {records.map((output, at) => (
        <Text key={`${output.digest}${at}`} color="fg.muted" title={output.digest}>{`${output.record} ${shortDigest(output.digest).slice(0, 8)}`}</Text>
      ))}
      {own && shown && <To to={taskPage(own, to)}>{own === "sweep" ? "Progress and leaderboard" : "Profile and checks"}</To>}
    </Box>
  );
}
