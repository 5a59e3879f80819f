/** The table of models: what serves, what challenges it, how sure the canary is. */

import { HStack, Text } from "@chakra-ui/react";

import type { ModelRow, RolloutBrief } from "../api/types";
import { count, weight } from "../format/number";
import { page } from "../routes";
import { Grid, type Column } from "./grid";
import { To } from "./layout";
import { Empty } from "./state";
import { Mark, Time } from "./words";

const COLUMNS: readonly Column<ModelRow>[] = [
  {
    key: "name", label: "Model", width: "10rem",
    cell: (row) => <To to={page("model", { model: row.name })}>{row.name}</To>,
  },
  { key: "champion", label: "Champion", figure: true, cell: (row) => row.champion ?? "–" },
  { key: "challenger", label: "Challenger", figure: true, cell: (row) => row.challenger ?? "–" },
  {
    key: "rollout", label: "Last rollout", width: "20rem",
    cell: (row) => (row.rollout ? <RolloutCell model={row.name} rollout={row.rollout} /> : "–"),
  },
  {
    key: "drift", label: "Drift",
    cell: (row) => (row.drift ? <Mark of={row.drift.drifted ? "drift" : "no_drift"} /> : "–"),
  },
  { key: "versions", label: "Versions", figure: true, cell: (row) => count(row.versions) },
  { key: "newest", label: "Newest", figure: true, cell: (row) => <Time at={row.newest_at} ago /> },
];

export function ModelTable({ rows, none, hint }: { rows: readonly ModelRow[]; none: string; hint: string }) {
  if (!rows.length) {
    return <Empty hint={hint}>{none}</Empty>;
  }
  return <Grid columns={COLUMNS} rows={rows} rowKey={(row) => row.name} label="Models" />;
}

function RolloutCell({ model, rollout }: { model: string; rollout: RolloutBrief }) {
  return (
    <>
      <HStack gap={2} wrap="wrap">
        <RolloutMark rollout={rollout} />
        <To to={page("canary", { model, epoch: rollout.epoch })}>
          {rollout.champion ? `${rollout.challenger} against ${rollout.champion}` : `${rollout.challenger}, the first`}
        </To>
      </HStack>
      <Text fontSize="xs" color="fg.muted" lineClamp={2} title={rollout.reason}>
        {rollout.reason}
      </Text>
    </>
  );
}

/** State of a rollout, with the weight while it lives. */
export function RolloutMark({ rollout }: { rollout: RolloutBrief }) {
  if (rollout.lost) {
    return <Mark of="lost">without a leader</Mark>;
  }
  if (rollout.live) {
    const place = rollout.kind === "shadow" ? "in shadow" : `${rollout.kind === "aa" ? "A/A " : ""}at ${weight(rollout.weight_percent)}`;
    return <Mark of={rollout.held ? "hold" : "live"}>{`${rollout.held ? "held" : "live"} ${place}`}</Mark>;
  }
  return <Mark of={rollout.state} />;
}
