/** One task instance: what went in and came out, why it ran or failed, and how to bring it home. */

import { Box, HStack, Text } from "@chakra-ui/react";

import { useTask } from "../api/queries";
import type { Json, TaskRef, TaskView } from "../api/types";
import { inline, words } from "../format/text";
import { duration } from "../format/time";
import { page } from "../routes";
import { Facts, Figures, type Fact } from "../ui/facts";
import { Gate } from "../ui/gate";
import { Grid, type Column } from "../ui/grid";
import { Below, Page, Section } from "../ui/layout";
import { TaskLinks } from "../ui/links";
import { JsonText } from "../ui/preview";
import { Load } from "../ui/state";
import { UnrecordedTask } from "../ui/unrecorded";
import { Command, DigestText, Mark, TaskLink, Time } from "../ui/words";
import { Handles } from "./task/Handles";

export function Task({ task, inTab = false }: { task: TaskRef; inTab?: boolean }) {
  const view = useTask(task);
  const whole = (
    <>
      <TaskLinks task={task} />
      <Load query={view} lines={12} missing={<UnrecordedTask task={task} />}>{(value) => <Whole view={value} />}</Load>
    </>
  );
  if (inTab) {
    return whole;
  }
  return (
    <Page
      title={
        <HStack gap={3} wrap="wrap">
          <span>{task.map_index >= 0 ? `${task.task_id}[${task.map_index}]` : task.task_id}</span>
          {view.data && <Mark of={view.data.outcome} />}
        </HStack>
      }
      crumbs={[
        { label: "Overview", to: page("") },
        { label: `${task.dag_id} · ${task.run_id}`, to: page("run", { dag_id: task.dag_id, run_id: task.run_id }) },
      ]}
      facts={<TaskLink task={task}>In Airflow: log, retries, XComs</TaskLink>}
    >
      {whole}
    </Page>
  );
}

function Whole({ view }: { view: TaskView }) {
  return (
    <>
      {view.failure && <Failure view={view} />}
      <Figures
        items={[
          { label: "Outcome", value: <Mark of={view.outcome} />, note: `try ${view.try_number}` },
          { label: "Took", value: duration(view.seconds), note: <Time at={view.ended_at} /> },
          cache(view),
          { label: "Operator", value: <Text fontSize="sm">{view.operator}</Text>, note: view.provenance.function || undefined },
        ]}
      />
      {view.gate && <Section title="Gate"><Gate gate={view.gate} /></Section>}
      {view.reproduce.command && <Section title="Bring it home"><Command text={view.reproduce.command} /></Section>}
      <Section title="Outputs">
        <Handles task={view.task} handles={view.outputs} none="It made no records." />
        {view.returned !== null && !view.outputs.length && <JsonText value={view.returned} />}
      </Section>
      <Below>
        <Section title="Inputs"><Handles task={view.task} handles={view.inputs} none="It took no records." /></Section>
        <Settings view={view} />
        <Section title="Provenance"><Facts items={provenance(view)} /></Section>
        {view.attempts.length > 1 && (
          <Section title="Attempts">
            <Grid columns={ATTEMPTS} rows={view.attempts} rowKey={(row) => String(row.sequence)} label="Attempts" height="20rem" />
          </Section>
        )}
      </Below>
    </>
  );
}

const CLASS = {
  user: "Mend code, data or settings: another try would fail the same way.",
  system: "The same run may succeed when it is tried again.",
  unknown: "The error is none that airflow_ml knows.",
} as const;

function Failure({ view }: { view: TaskView }) {
  const { failure } = view;
  return failure && (
    <Box role="alert" borderWidth="1px" borderColor="border.error" borderRadius="md" bg="bg.error" px={4} py={3} mb={4}>
      <HStack gap={3} mb={1} wrap="wrap">
        <Text fontWeight="semibold" fontSize="sm" color="red.fg">{failure.error}</Text>
        <Mark of="failed">{failure.class === "unknown" ? "unclassified" : `${failure.class} error`}</Mark>
        {failure.retryable && <Mark of="hold">worth another try</Mark>}
      </HStack>
      <Text fontSize="sm" whiteSpace="pre-wrap" overflowWrap="anywhere">{failure.message}</Text>
      {failure.causes.length ? (
        <Box mt={3} bg="bg.panel" borderWidth="1px" borderRadius="sm" px={3} py={1}>
          <Grid columns={CAUSES} rows={failure.causes} rowKey={(row) => row.name} label="Causes and remedies" />
        </Box>
      ) : (
        failure.remedy && <Text fontSize="sm" mt={2} overflowWrap="anywhere"><Text as="span" fontWeight="medium">What helps: </Text>{failure.remedy}</Text>
      )}
      <Text fontSize="sm" mt={2} color="fg.muted">{CLASS[failure.class]}</Text>
    </Box>
  );
}

const CAUSES: readonly Column<NonNullable<TaskView["failure"]>["causes"][number]>[] = [
  { key: "name", label: "Cause", width: "8.5rem", cell: (row) => words(row.name) },
  { key: "meaning", label: "What happened", width: "14rem", cell: (row) => row.meaning },
  { key: "remedy", label: "What helps", width: "16rem", cell: (row) => row.remedy },
  { key: "again", label: "Another try", width: "9.5rem", cell: (row) => (row.retryable ? "can succeed" : "fails the same way") },
];

function cache({ cache: { verdict, changed, nearest } }: TaskView): Fact {
  const why = changed.length ? `changed: ${changed.join(", ")}` : undefined;
  return {
    label: "Cache",
    value: verdict === "off" ? "not asked for" : <Mark of={verdict === "hit" ? "hit" : "plain"}>{verdict}</Mark>,
    note: nearest ? <>{why ?? "made by"} <TaskLink task={nearest}>{nearest.run_id}</TaskLink></> : why,
  };
}

/** A value in one line; what takes more scrolls in a few of them. */
function Setting({ value }: { value: Json }) {
  const line = inline(value, 160);
  return line.endsWith("…") ? <JsonText value={value} height="8rem" /> : <>{line}</>;
}

function Settings({ view }: { view: TaskView }) {
  const settings = Object.entries(view.settings).map(([label, value]) => ({ label, value: <Setting value={value} /> }));
  const params = Object.entries(view.params).map(([name, value]) => ({ label: `Param ${name}`, value: <Setting value={value} /> }));
  if (!settings.length && !params.length) {
    return null;
  }
  return <Section title="Settings"><Facts items={[...settings, ...params]} /></Section>;
}

function provenance({ provenance: made, reproduce }: TaskView): Fact[] {
  const dirty = { yes: ", tracked files differed from it", no: "", unknown: "" }[made.dirty] ?? "";
  const facts: (Fact | null)[] = [
    { label: "Commit", value: `${made.commit || "unknown"}${dirty}` },
    made.branch ? { label: "Branch", value: made.branch } : null,
    made.bundle ? { label: "DAG bundle", value: `${made.bundle} ${made.bundle_version}` } : null,
    made.function ? { label: "Function", value: <>{made.function} <DigestText digest={made.function_digest} /></> } : null,
    made.seed === null ? null : { label: "Seed", value: String(made.seed) },
    { label: "Environment", value: <>{`Python ${made.python}, airflow_ml ${made.airflow_ml}`} <DigestText digest={made.environment} /></> },
    { label: "Machine", value: `${made.platform}, ${made.cpu}, ${made.cpus} CPUs` },
    made.triggered_by ? { label: "Triggered by", value: made.triggered_by } : null,
    reproduce.why_not ? { label: "Reproduce", value: reproduce.why_not } : null,
    made.statements.length ? { label: "Statements", value: made.statements.join(", ") } : null,
  ];
  return facts.filter((fact) => fact !== null);
}

const ATTEMPTS: readonly Column<TaskView["attempts"][number]>[] = [
  { key: "try", label: "Try", figure: true, cell: (row) => row.try_number },
  { key: "outcome", label: "Outcome", cell: (row) => <Mark of={row.outcome}>{words(row.outcome)}</Mark> },
  { key: "started", label: "Started", cell: (row) => <Time at={row.started_at} /> },
  { key: "ended", label: "Ended", cell: (row) => <Time at={row.ended_at} /> },
  { key: "error", label: "Error", width: "20rem", cell: (row) => row.error || "–" },
];
