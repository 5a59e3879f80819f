/** One rollout: how sure it is, what it has done, and what may be done about it. */

import { Box, HStack, NativeSelect, Text } from "@chakra-ui/react";
import { useState } from "react";
import { useNavigate } from "react-router-dom";

import { useCanary } from "../api/queries";
import type { CanaryView, LogRow } from "../api/types";
import { count, number, signed, weight } from "../format/number";
import { words } from "../format/text";
import { duration } from "../format/time";
import { ConfidenceSequence, firstProof, stepName } from "../plots/ConfidenceSequence";
import { page } from "../routes";
import { Actions } from "../ui/actions";
import { Facts, Figures, type Fact } from "../ui/facts";
import { Grid, type Column } from "../ui/grid";
import { Below, Page, Section, To } from "../ui/layout";
import { RolloutMark } from "../ui/models";
import { Empty, Load } from "../ui/state";
import { Mark, Name, TaskLink, Time, useNow } from "../ui/words";
import { Challengers, looksOf } from "./canary/challengers";
import { Guardrails, SampleRatio, Samples } from "./canary/evidence";

export function Canary({ model, epoch }: { model: string; epoch: string | null }) {
  const canary = useCanary(model, epoch);
  const view = canary.data;
  return (
    <Page
      title={
        <HStack gap={3} wrap="wrap">
          <span>{model}</span>
          {view && <RolloutMark rollout={view.brief} />}
        </HStack>
      }
      crumbs={[{ label: "Models", to: page("models") }, { label: model, to: page("model", { model }) }]}
      facts={view && view.brief.reason}
      actions={
        view && (
          <>
            <Epochs view={view} />
            <Actions view={view} />
          </>
        )
      }
    >
      <Load query={canary} lines={14}>{(value) => <Rollout view={value} />}</Load>
    </Page>
  );
}

function Rollout({ view }: { view: CanaryView }) {
  const { brief, plan } = view;
  const [arm, setArm] = useState("");
  const several = view.challengers.length > 1;
  const looks = arm ? looksOf(view.looks, arm) : view.looks;
  return (
    <>
      {view.promote_arm && brief.live && (
        <Text role="status" fontSize="sm" color="fg.info" mb={3}>
          A promotion by hand was asked for: the next look carries it out, unless that look shows harm.
        </Text>
      )}
      <Figures items={figures(view)} />
      <Section
        title="Evidence"
        aside={
          <>
            {several && <Arms view={view} arm={arm} change={setArm} />}
            {`${count(view.looks_total)} looks, valid at all of them together: what one shows stays shown; error at most ${number(100 * plan.alpha)}\u00a0%`}
          </>
        }
      >
        {looks.length ? (
          <ConfidenceSequence looks={looks} plan={plan} />
        ) : (
          <Empty hint="The first look follows the challenger's first traffic.">Nothing was measured yet.</Empty>
        )}
      </Section>
      <Below>
        {several && <Section title="Challengers"><Challengers view={view} /></Section>}
        <Box
          display="grid" columnGap={4} css={{ "& > :last-child": { gridColumn: { lg: "span 2", "2xl": "auto" } } }}
          gridTemplateColumns={{ base: "minmax(0, 1fr)", lg: "repeat(2, minmax(0, 1fr))", "2xl": "repeat(3, minmax(0, 1fr))" }}
        >
          <Section title="Samples per arm"><Samples looks={view.looks} plan={plan} challengers={view.challengers} /></Section>
          <Section title="Guardrails"><Guardrails look={looks.at(-1)} plan={plan} /></Section>
          <Section title="Sample ratio"><SampleRatio looks={view.looks} /></Section>
        </Box>
        <Section title="Decisions" aside="newest first">
          <Grid columns={LOG} rows={view.log} rowKey={(row, at) => `${row.sequence}-${at}`} label="Decisions" height="26rem" />
        </Section>
        <Section title="Plan"><Facts items={planFacts(view)} /></Section>
      </Below>
      {brief.live && !view.allowed.length && (
        <Text fontSize="xs" color="fg.muted">
          Holding, resuming, promoting, rolling back and approving need the permission to edit the task instances of its DAG.
        </Text>
      )}
    </>
  );
}

function Arms({ view, arm, change }: { view: CanaryView; arm: string; change: (arm: string) => void }) {
  return (
    <NativeSelect.Root size="xs" width="auto">
      <NativeSelect.Field aria-label="Challenger" value={arm} onChange={(event) => change(event.currentTarget.value)}>
        <option value="">the one that looks best</option>
        {view.challengers.map((one) => <option key={one.arm} value={one.arm}>{`version ${one.version}`}</option>)}
      </NativeSelect.Field>
      <NativeSelect.Indicator />
    </NativeSelect.Root>
  );
}

function figures(view: CanaryView): Fact[] {
  const { brief, looks, plan } = view;
  const last = looks.findLast((look) => look.effect !== null);
  const proof = view.challengers.length > 1 ? undefined : firstProof(looks, plan);
  const items: Fact[] = [
    {
      label: view.challengers.length > 1 ? "Weight of each" : "Challenger's weight",
      value: weight(brief.weight_percent),
      note: `step ${brief.step + 1} of ${brief.steps.length}${KIND[brief.kind] ?? ""}${view.confirmed ? "" : ", not confirmed by the router"}`,
    },
    {
      label: `Effect on ${plan.metric}`,
      value: last ? signed(last.effect) : "–",
      note: last ? `[${signed(last.low)}, ${signed(last.high)}]${proof ? `; shown better on day ${number(proof.data_days, 3)}` : ""}` : "not estimated yet",
    },
    { label: "Data days", value: number(looks.at(-1)?.data_days ?? 0, 3), note: `of at most ${number(plan.max_data_days)}` },
    { label: "Data until", value: <Time at={view.watermark_at} />, note: "on the data clock" },
    { label: "Champion", value: brief.champion || "none", note: `challenger ${brief.challenger}` },
  ];
  if (brief.live) {
    items.push({ label: "Lease", value: <Lease at={view.lease_expires_at} />, note: view.owner && <TaskLink task={view.owner}>leading task</TaskLink> });
  } else {
    items.push({ label: "Started", value: <Time at={brief.started_at} />, note: view.cause ? `ended by ${words(view.cause)}` : undefined });
  }
  return items;
}

const KIND: Record<string, string> = { shadow: ", scoring unheard", aa: ", champion against itself" };

/** The time that the leader has left to renew its lease, second by second. */
function Lease({ at }: { at: string | null }) {
  const now = useNow(1_000);
  if (!at) {
    return <>–</>;
  }
  const left = (new Date(at).getTime() - now) / 1_000;
  return left > 0 ? <>{duration(left)} left</> : <Text as="span" color="red.fg">ran out {duration(-left)} ago</Text>;
}

function Epochs({ view }: { view: CanaryView }) {
  const navigate = useNavigate();
  return (
    <NativeSelect.Root size="xs" width="auto">
      <NativeSelect.Field
        aria-label="Rollout" value={view.epoch}
        onChange={(event) => void navigate(page("canary", { model: view.model, epoch: event.currentTarget.value }))}
      >
        {view.epochs.map((epoch) => <option key={epoch} value={epoch}>{`rollout ${epoch}`}</option>)}
      </NativeSelect.Field>
      <NativeSelect.Indicator />
    </NativeSelect.Root>
  );
}

const LOG: readonly Column<LogRow>[] = [
  { key: "at", label: "When", cell: (row) => <Time at={row.at} /> },
  { key: "state", label: "State", cell: (row) => <Mark of={row.state} /> },
  { key: "weight", label: "Weight", figure: true, cell: (row) => weight(row.weight_percent) },
  { key: "what", label: "What", width: "18rem", cell: (row) => row.what },
  { key: "by", label: "By", width: "8rem", cell: (row) => (row.by ? <Name>{row.by}</Name> : "–") },
];

function planFacts({ plan, router, namespace, owner, trouble_since_at, model }: CanaryView): Fact[] {
  const margin = plan.hypothesis === "non_inferiority" ? ` by more than ${number(plan.margin)}` : "";
  const facts: Fact[] = [
    {
      label: "To show",
      value: `${plan.metric} ${plan.hypothesis === "superiority" ? "better" : "not worse"}${margin}; ${plan.direction} it`,
    },
    { label: "Steps", value: plan.steps.map((step) => `${stepName(step)} for ${number(step.data_days)} d`).join(", ") },
    ...(plan.design === "paired_shadow" ? [{ label: "Decided by", value: "differences of two scores of one request, in shadow" }] : []),
    ...(plan.promotes ? [] : [{ label: "At the end", value: "a comparison only: nothing is promoted" }]),
    { label: "Error at most", value: `${number(100 * plan.alpha)} % over all looks` },
    { label: "Units per arm", value: `at least ${count(plan.min_units)}` },
    { label: "Router", value: router },
    { label: "Namespace", value: namespace },
    { label: "Model", value: <To to={page("model", { model })}>{model}</To> },
  ];
  if (plan.expected_effect) {
    facts.splice(1, 0, { label: "Made for", value: `an improvement of ${number(plan.expected_effect)}` });
  }
  if (owner) {
    facts.push({ label: "Led by", value: <TaskLink task={owner} /> });
  }
  if (trouble_since_at) {
    facts.push({ label: "In trouble since", value: <Time at={trouble_since_at} /> });
  }
  return facts;
}
