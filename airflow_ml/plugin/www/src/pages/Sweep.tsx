/** One sweep: how far it is, what is best, what failed, and every trial. */

import { Box, HStack, NativeSelect, Text } from "@chakra-ui/react";
import { useState } from "react";
import { useSearchParams } from "react-router-dom";

import { apiUrl, segment } from "../api/client";
import { useChart, useSweep } from "../api/queries";
import type { SweepView } from "../api/types";
import { count, counted, number, percent } from "../format/number";
import { inline, words } from "../format/text";
import { duration } from "../format/time";
import { Bars } from "../plots/Bars";
import { Front } from "../plots/Front";
import { Lines } from "../plots/Lines";
import { Parallel } from "../plots/Parallel";
import { Slices } from "../plots/Slices";
import { page } from "../routes";
import { Facts, Figures, type Fact } from "../ui/facts";
import { Grid } from "../ui/grid";
import { Below, Page, Section } from "../ui/layout";
import { Empty, Load, Present } from "../ui/state";
import { DigestText, Mark, Out, TaskLink, Time } from "../ui/words";
import { Groups } from "./sweep/Groups";
import { Leaderboard } from "./sweep/Leaderboard";
import { Progress } from "./sweep/Progress";
import { Trial } from "./sweep/Trial";

interface Place {
  dag: string;
  run: string;
  task: string;
}

export function Sweep(place: Place) {
  const sweep = useSweep(place.dag, place.run, place.task);
  const view = sweep.data;
  const [query, setQuery] = useSearchParams();
  const trial = query.get("trial");
  const open = (name: string | null) =>
    setQuery((asked) => {
      const next = new URLSearchParams(asked);
      if (name) {
        next.set("trial", name);
      } else {
        next.delete("trial");
      }
      return next;
    });
  return (
    <Page
      title={
        <HStack gap={3} wrap="wrap">
          <span>{view ? view.function : place.task}</span>
          {view && <Mark of={view.state} />}
        </HStack>
      }
      crumbs={[
        { label: "Overview", to: page("") },
        { label: `${place.dag} · ${place.run}`, to: page("run", { dag_id: place.dag, run_id: place.run }) },
      ]}
      facts={view && <>{`${view.objectives.map((one) => `${one.direction} ${one.metric}`).join(", ")}, ${counted(view.progress.trials, "trial")}${view.by ? ` in ${counted(view.groups, "group")} by ${view.by}` : ""}, ${view.sampler}`} · <TaskLink task={view.task} /></>}
    >
      <Load query={sweep} lines={14}>
        {(value) => (
          <>
            <Whole view={value} place={place} openTrial={open} />
            {trial && <Trial place={place} trial={trial} metric={value.metric} close={() => open(null)} />}
          </>
        )}
      </Load>
    </Page>
  );
}

function Whole({ view, place, openTrial }: { view: SweepView; place: Place; openTrial: (name: string) => void }) {
  const { progress, best_so_far } = view;
  return (
    <>
      {view.error && <Text role="alert" color="red.fg" fontSize="sm" mb={3} overflowWrap="anywhere">{view.error}</Text>}
      <Figures items={figures(view, openTrial)} />
      <Box display="grid" gridTemplateColumns={{ base: "minmax(0, 1fr)", xl: "minmax(0, 3fr) minmax(0, 2fr)" }} columnGap={4}>
        <Section title="Best so far" aside={view.best_by_group.length > 1 && "over all groups"}>
          {best_so_far.length ? (
            <Lines
              title={`Best ${view.metric}`} height={220} steps
              x={{ label: "trials finished", values: best_so_far.map((point) => point.finished), format: count }}
              series={[{ name: view.metric, values: best_so_far.map((point) => point.value) }]}
            />
          ) : (
            <Empty>No trial has succeeded yet.</Empty>
          )}
        </Section>
        <Section title="Trials" aside={`${count(progress.shards_done)} of ${counted(view.shards, "shard")} done`}>
          <Progress progress={progress} />
          <Failures view={view} openTrial={openTrial} />
        </Section>
      </Box>
      <Below>
        {view.best_by_group.length > 1 && (
          <Section title="Best of each group" aside={view.by && `by ${view.by}`}><Groups view={view} openTrial={openTrial} /></Section>
        )}
        <Charts view={view} place={place} openTrial={openTrial} />
        <Section title="Leaderboard" aside={counted(progress.trials, "trial")}>
          <Leaderboard place={place} metric={view.metric} several={view.objectives.length > 1} running={view.state === "running"} open={openTrial} />
        </Section>
        <Section title="Plan"><Facts items={planFacts(view)} /></Section>
      </Below>
    </>
  );
}

function figures({ best, metric, progress, state }: SweepView, openTrial: (name: string) => void): Fact[] {
  const { trials, finished, failed, eta_seconds, started_at, ended_at } = progress;
  const took = started_at && ended_at ? (Date.parse(ended_at) - Date.parse(started_at)) / 1_000 : null;
  return [
    {
      label: `Best ${metric}`,
      value: number(best?.value),
      note: best && (
        <Box as="button" textAlign="start" cursor="pointer" color="fg.info" onClick={() => openTrial(best.trial)}>
          {`${best.trial}${best.group ? `, ${best.group}` : ""}`}
        </Box>
      ),
    },
    { label: "Finished", value: `${count(finished)} of ${count(trials)}`, note: percent(finished / Math.max(trials, 1)) },
    state === "running"
      ? { label: "Left", value: duration(eta_seconds), note: "at the pace so far" }
      : { label: "Took", value: duration(took), note: <Time at={ended_at} /> },
    { label: "Work", value: duration(progress.trial_seconds), note: "sum over trials" },
    { label: "Failed", value: count(failed), note: finished ? `${percent(failed / finished)} of the finished` : undefined },
    { label: "Started", value: <Time at={started_at} />, note: <Time at={started_at} ago /> },
  ];
}

function Failures({ view, openTrial }: { view: SweepView; openTrial: (name: string) => void }) {
  const lost = view.groups_without_success;
  if (!view.failures.length && !lost.length) {
    return <Empty>No trial has failed.</Empty>;
  }
  return (
    <Box mt={3}>
      <Grid
        label="Failures by reason" rows={view.failures} rowKey={(row, at) => `${row.reason}${at}`} height="14rem"
        columns={[
          { key: "trials", label: "Trials", figure: true, cell: (row) => count(row.trials) },
          { key: "status", label: "Status", cell: (row) => <Mark of={row.status} /> },
          { key: "reason", label: "Reason", width: "12rem", cell: (row) => row.reason },
          { key: "example", label: "Such as", cell: (row) => <Box as="button" textAlign="start" cursor="pointer" color="fg.info" onClick={() => openTrial(row.example)}>{row.example}</Box> },
        ]}
      />
      {lost.length > 0 && (
        <Text fontSize="xs" color="orange.fg" mt={2} overflowWrap="anywhere">
          {`No trial succeeded in ${lost.slice(0, 12).join(", ")}${lost.length > 12 ? ` and ${count(lost.length - 12)} more` : ""}.`}
        </Text>
      )}
    </Box>
  );
}

function Charts({ view, place, openTrial }: { view: SweepView; place: Place; openTrial: (name: string) => void }) {
  const [group, setGroup] = useState("");
  const chart = useChart(place.dag, place.run, place.task, group);
  const groups = view.best_by_group.map((best) => best.group).filter(Boolean).sort();
  return (
    <Section
      title="Parameters"
      aside={
        <>
          {chart.data && `${count(chart.data.points.value.length)} of ${counted(chart.data.trials, "trial")} drawn`}
          {groups.length > 1 && (
            <NativeSelect.Root size="xs" width="auto">
              <NativeSelect.Field aria-label="Group" value={group} onChange={(event) => setGroup(event.currentTarget.value)}>
                <option value="">all groups</option>
                {groups.map((name) => <option key={name} value={name}>{name}</option>)}
              </NativeSelect.Field>
              <NativeSelect.Indicator />
            </NativeSelect.Root>
          )}
        </>
      }
    >
      <Load query={chart}>
        {(value) =>
          value.points.value.length ? (
            <>
              {value.objectives.length > 1 && <Box mb={5}><Front chart={value} open={openTrial} /></Box>}
              <Parallel chart={value} />
              <Box display="grid" gridTemplateColumns={{ base: "minmax(0, 1fr)", xl: "minmax(0, 1fr) minmax(0, 3fr)" }} gap={6} mt={5}>
                {value.importance.length ? (
                  <Box>
                    <Bars title="Importance" items={value.importance.map((item) => ({ name: item.name, value: item.share }))} format={percent} />
                    <Text fontSize="xs" color="fg.muted" mt={2}>{`Share of the variance of ${value.metric} that each explains alone.`}</Text>
                  </Box>
                ) : (
                  <Empty>Importance needs 20 trials.</Empty>
                )}
                <Slices chart={value} />
              </Box>
            </>
          ) : (
            <Empty>No trial has succeeded yet.</Empty>
          )
        }
      </Load>
      <Drawn view={view} place={place} />
    </Section>
  );
}

/** Pictures that the sweep's own task has drawn. */
function Drawn({ view, place }: { view: SweepView; place: Place }) {
  if (view.pictures.state === "absent") {
    return null;
  }
  const address = (name: string) =>
    apiUrl(`dags/${segment(place.dag)}/sweep/picture`, { run_id: place.run, task_id: place.task, name });
  return (
    <HStack gap={3} mt={4} fontSize="xs" color="fg.muted" wrap="wrap">
      <span>Drawn by the sweep itself:</span>
      <Present part={view.pictures}>
        {(names) => names.map((name) => <Out key={name} address={address(name)}>{words(name)}</Out>)}
      </Present>
    </HStack>
  );
}

function planFacts(view: SweepView): Fact[] {
  const space = view.space.map((spec) => {
    const values = spec.values.length ? spec.values.map((value) => inline(value, 40)).join(", ") : `${number(spec.low)} to ${number(spec.high)}`;
    const when = spec.when && `, where ${spec.when}`;
    return { label: spec.name, value: `${spec.distribution.replaceAll("_", " ")}: ${values}${when}` };
  });
  return [
    ...space,
    { label: "Sampler", value: `${view.sampler}${view.pruner ? `, pruned by ${view.pruner}` : ""}, seed ${view.seed}` },
    { label: "Sweep", value: <DigestText digest={view.sweep} /> },
    ...view.progress.stopped.map((one) => ({ label: `Shard ${one.shard} stopped`, value: one.reason })),
  ];
}
