/** One model: what serves and why, what came before, and what each version was made from. */

import { Box, HStack, Text } from "@chakra-ui/react";
import { useState } from "react";

import { useLineage, useModel } from "../api/queries";
import type { DriftRow, ModelView, PromotionRow, VersionRow } from "../api/types";
import { count, counted, number } from "../format/number";
import { sentence, words } from "../format/text";
import { Lineage } from "../plots/Lineage";
import { Lines } from "../plots/Lines";
import { page } from "../routes";
import { Facts, Figures } from "../ui/facts";
import { Gate } from "../ui/gate";
import { Grid, type Column } from "../ui/grid";
import { Below, Page, Section, To } from "../ui/layout";
import { JsonText } from "../ui/preview";
import { Empty, Load, Present } from "../ui/state";
import { DigestText, Made, Mark, Out, TaskLink, Time } from "../ui/words";

export function Model({ name }: { name: string }) {
  const model = useModel(name);
  return (
    <Page
      title={name}
      crumbs={[{ label: "Models", to: page("models") }]}
      facts={model.data && counted(model.data.versions.length, "version")}
      actions={model.data?.links.mlflow && <Text fontSize="sm"><Out address={model.data.links.mlflow}>MLflow</Out></Text>}
    >
      <Load query={model} lines={14}>{(view) => <Whole view={view} />}</Load>
    </Page>
  );
}

function Whole({ view }: { view: ModelView }) {
  const [chosen, choose] = useState<string | null>(null);
  const newest = view.versions[0];
  const version = view.versions.find((one) => one.version === (chosen ?? view.champion)) ?? newest;
  const last = view.history[0];
  const served = view.history.find((row) => SERVES.has(row.outcome) && row.challenger === view.champion);
  return (
    <>
      <Figures
        items={[
          {
            label: "Champion", value: view.champion ?? "none",
            note: served && <To to={page("canary", { model: view.name, epoch: served.epoch })}>{`${sentence(served.outcome)}: ${served.reason}`}</To>,
          },
          { label: "Before it", value: view.previous ?? "none" },
          { label: "Challenger", value: view.challenger ?? "none" },
          { label: "Newest", value: newest?.version ?? "–", note: newest && <Time at={newest.at} /> },
          {
            label: "Last rollout",
            value: last ? <Mark of={last.outcome} /> : "–",
            note: last && last !== served && <To to={page("canary", { model: view.name, epoch: last.epoch })}>{last.reason}</To>,
          },
        ]}
      />
      <Section title="Versions">
        <Grid
          columns={versionColumns(view.name, choose)} rows={view.versions} rowKey={(row) => row.version} label="Versions"
          selected={(row) => row.version === version?.version} height="20rem"
        />
      </Section>
      <Below>
        {version && <Version key={version.version} model={view.name} version={version} />}
        <Metrics view={view} />
        <Section title="Promotion history">
          {view.history.length ? (
            <Grid columns={historyColumns(view.name)} rows={view.history} rowKey={(row) => String(row.epoch)} label="Promotion history" height="28rem" />
          ) : (
            <Empty hint="canary writes here.">No version was rolled out yet.</Empty>
          )}
        </Section>
        <Section title="Drift reports">
          {view.drift.length ? (
            <Grid columns={DRIFT} rows={view.drift} rowKey={(row, at) => `${row.at}${at}`} label="Drift reports" height="20rem" />
          ) : (
            <Empty hint="monitor writes here.">No drift was measured yet.</Empty>
          )}
        </Section>
      </Below>
    </>
  );
}

/** How a version comes to serve. */
const SERVES = new Set(["promoted", "installed"]);

function versionColumns(model: string, choose: (version: string) => void): Column<VersionRow>[] {
  return [
    {
      key: "version", label: "Version",
      cell: (row) => (
        <HStack gap={2}>
          <Text as="button" cursor="pointer" color="fg.info" onClick={() => choose(row.version)}>{row.version}</Text>
          {row.aliases.map((alias) => <Mark key={alias} of={alias} />)}
        </HStack>
      ),
    },
    { key: "by", label: "Made by", width: "9rem", cell: (row) => (row.made_by ? <Made task={row.made_by} at={row.at} /> : "–") },
    { key: "gate", label: "Gate", cell: (row) => (row.gate.state === "present" ? <Mark of={row.gate.value.verdict} /> : words(row.gate.state)) },
    {
      key: "rollout", label: "Rollout", width: "6rem",
      cell: (row) => (row.rollout ? <To to={page("canary", { model, epoch: row.rollout.epoch })}>{words(row.rollout.outcome)}</To> : "–"),
    },
    {
      key: "metrics", label: "Metrics", width: "10rem",
      cell: (row) => Object.entries(row.metrics).slice(0, 3).map(([name, value]) => `${name} ${number(value)}`).join(", ") || "–",
    },
    { key: "commit", label: "Commit", width: "6rem", cell: (row) => row.commit.slice(0, 8) || "–" },
    { key: "model", label: "Bytes", cell: (row) => <DigestText digest={row.model_digest} /> },
  ];
}

function Version({ model, version }: { model: string; version: VersionRow }) {
  const lineage = useLineage(model, version.version);
  return (
    <>
      <Section title={`Version ${version.version}: lineage`}>
        <Load query={lineage}>
          {(graph) => (graph.nodes.length ? <Lineage graph={graph} /> : <Empty>The records name no ancestors.</Empty>)}
        </Load>
      </Section>
      <Section title={`Version ${version.version}: gate report`}>
        <Present part={version.gate}>{(gate) => <Gate gate={gate} />}</Present>
      </Section>
      <HStack align="stretch" gap={4} wrap="wrap" css={{ "& > *": { flex: "1 1 24rem" } }}>
        <Section title="Signature">
          <Present part={version.signature}>
            {(signature) => (
              <>
                <Schema label="Inputs" columns={signature.inputs} />
                <Schema label="Outputs" columns={signature.outputs} />
              </>
            )}
          </Present>
        </Section>
        <Section title={`Feature view ${version.view}`} aside={version.view_digest && <DigestText digest={version.view_digest} />}>
          <Present part={version.feature_view}>{(view) => <JsonText value={view} height="22rem" />}</Present>
        </Section>
      </HStack>
    </>
  );
}

function Schema({ label, columns }: { label: string; columns: readonly { name: string; dtype: string }[] }) {
  return (
    <>
      <Text fontSize="xs" color="fg.muted" mb={1} _notFirst={{ mt: 3 }}>{`${label} (${count(columns.length)})`}</Text>
      <Facts items={columns.map((column) => ({ label: column.name, value: column.dtype }))} />
    </>
  );
}

function Metrics({ view }: { view: ModelView }) {
  const series = view.metrics.filter((metric) => metric.points.length);
  if (!series.length) {
    return null;
  }
  return (
    <Section title="Metrics over versions">
      <Box display="grid" gridTemplateColumns="repeat(auto-fill, minmax(min(100%, 24rem), 1fr))" gap={6}>
        {series.slice(0, 9).map((metric) => (
          <Lines
            key={metric.name} title={metric.name} height={170} dots
            x={{ label: "version", values: metric.points.map((point, at) => Number(point.version) || at + 1), whole: true }}
            series={[{ name: metric.name, values: metric.points.map((point) => point.value) }]}
          />
        ))}
      </Box>
    </Section>
  );
}

function historyColumns(model: string): Column<PromotionRow>[] {
  return [
    { key: "epoch", label: "Rollout", cell: (row) => <To to={page("canary", { model, epoch: row.epoch })}>{String(row.epoch)}</To> },
    { key: "outcome", label: "Outcome", cell: (row) => <Mark of={row.outcome} /> },
    { key: "versions", label: "Versions", width: "8.5rem", cell: (row) => (row.champion ? `${row.challenger} against ${row.champion}` : row.challenger) },
    { key: "reason", label: "Why", width: "13rem", cell: (row) => row.reason },
    {
      key: "who", label: "Who", width: "11rem",
      cell: (row) => (
        <>
          {row.owner && <TaskLink task={row.owner} />}
          {row.actions.map((action, at) => (
            <Text key={at} fontSize="xs" color="fg.muted">{`${sentence(action.action)} by ${action.by}: ${action.reason}`}</Text>
          ))}
        </>
      ),
    },
    {
      key: "when", label: "When",
      cell: (row) => (
        <>
          <Time at={row.started_at} />
          <Text fontSize="xs" color="fg.muted">{row.ended_at ? <>to <Time at={row.ended_at} /></> : "not ended"}</Text>
        </>
      ),
    },
  ];
}

const DRIFT: readonly Column<DriftRow>[] = [
  { key: "drifted", label: "Drift", cell: (row) => <Mark of={row.drifted ? "drift" : "no_drift"} /> },
  { key: "version", label: "Version", cell: (row) => row.version },
  { key: "reason", label: "Reason", width: "18rem", cell: (row) => row.reason },
  { key: "rows", label: "Rows", figure: true, cell: (row) => count(row.rows) },
  { key: "task", label: "Task", width: "10rem", cell: (row) => <TaskLink task={row.task} /> },
  { key: "at", label: "When", cell: (row) => <Time at={row.at} /> },
];
