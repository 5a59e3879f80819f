/** What a look counted: units per arm, guardrails, and whether the split is as it should be. */

import { Text } from "@chakra-ui/react";

import type { CanaryPlan, CanaryView, LookRow } from "../../api/types";
import { count, number, signed } from "../../format/number";
import { Lines } from "../../plots/Lines";
import { Grid, type Column } from "../../ui/grid";
import { Empty } from "../../ui/state";
import { Mark } from "../../ui/words";

interface Arm {
  name: string;
  units: number | undefined;
  requests: number | undefined;
  waiting: number | undefined;
}

const ARMS: readonly Column<Arm>[] = [
  { key: "name", label: "Arm", width: "6.5rem", cell: (arm) => arm.name },
  { key: "units", label: "Units", figure: true, cell: (arm) => count(arm.units) },
  { key: "requests", label: "With outcome", figure: true, cell: (arm) => count(arm.requests) },
  { key: "waiting", label: "Waiting", figure: true, cell: (arm) => count(arm.waiting) },
];

interface SamplesProps {
  looks: readonly LookRow[];
  plan: CanaryPlan;
  challengers: CanaryView["challengers"];
}

export function Samples({ looks, plan, challengers }: SamplesProps) {
  const last = looks.at(-1);
  const counted = looks.findLast((look) => look.units !== null);
  const several = challengers.length > 1;
  const arms = [{ arm: "champion", version: "" }, ...challengers].map(({ arm, version }): Arm => {
    // Of several challengers each has its own look; the champion's counts are those beside the one that looks best.
    const own = counted?.arms.find((one) => one.arm === arm) ?? counted;
    return {
      name: several && version ? `version ${version}` : arm,
      units: own?.units?.[arm],
      requests: own?.requests?.[arm],
      waiting: last?.waiting?.[arm],
    };
  });
  const least = Math.min(...arms.map((arm) => arm.units ?? 0));
  return (
    <>
      <Grid columns={ARMS} rows={arms} rowKey={(arm) => arm.name} label="Samples per arm" />
      <Text fontSize="xs" color="fg.muted" mt={2}>
        {least < plan.min_units
          ? `Nothing is decided below ${count(plan.min_units)} units in each arm.`
          : `${several ? "All" : "Both"} arms have the ${count(plan.min_units)} units that a decision needs.`}
      </Text>
    </>
  );
}

interface Rail {
  metric: string;
  slice: string;
  margin: number;
  effect: number | null;
  state: "held" | "broken" | "open";
}

const RAILS: readonly Column<Rail>[] = [
  { key: "metric", label: "Metric", width: "7rem", cell: (rail) => (rail.slice ? `${rail.metric}: ${rail.slice}` : rail.metric) },
  { key: "effect", label: "Effect", figure: true, cell: (rail) => signed(rail.effect) },
  { key: "margin", label: "Margin", figure: true, cell: (rail) => number(rail.margin) },
  { key: "state", label: "", cell: (rail) => <Mark of={rail.state}>{STATE[rail.state]}</Mark> },
];
const STATE = { held: "shown to hold", broken: "shown to be worse", open: "not shown yet" } as const;

export function Guardrails({ look, plan }: { look: LookRow | undefined; plan: CanaryPlan }) {
  if (!plan.guardrails.length) {
    return <Empty>The plan names none.</Empty>;
  }
  const rails = plan.guardrails.map((rail): Rail => {
    const seen = look?.guardrails.find((item) => item.metric === rail.metric);
    return {
      metric: rail.metric,
      slice: seen?.slice ?? "",
      margin: rail.margin,
      effect: seen?.effect ?? null,
      state: seen?.broken ? "broken" : seen?.held ? "held" : "open",
    };
  });
  return <Grid columns={RAILS} rows={rails} rowKey={(rail) => rail.metric} label="Guardrails" />;
}

export function SampleRatio({ looks }: { looks: readonly LookRow[] }) {
  const tested = looks.filter((look) => look.sample_ratio_excess !== null);
  const excess = tested.at(-1)?.sample_ratio_excess;
  if (excess === undefined || excess === null) {
    return <Empty>The split cannot be tested yet.</Empty>;
  }
  return (
    <>
      <Text fontSize="sm" mb={2}>
        <Mark of={excess >= 0 ? "broken" : "balanced"}>{excess >= 0 ? "mismatch" : "as planned"}</Mark>{" "}
        {excess >= 0
          ? "The arms do not get the traffic that their weights say."
          : `The log-evidence against the planned split is ${number(-excess, 3)} below the alarm.`}
      </Text>
      <Lines
        title="Log-evidence of a mismatch; the alarm is at 0"
        height={132}
        x={{ label: "data days", values: tested.map((look) => look.data_days) }}
        series={[{ name: "excess", values: tested.map((look) => look.sample_ratio_excess) }]}
        rules={[{ at: 0, label: "alarm" }]}
      />
    </>
  );
}
