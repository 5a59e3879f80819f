/** One dataset: its snapshots, and how far the world moved from what models learned of it. */

import { Box } from "@chakra-ui/react";
import { useState } from "react";

import { useDataset } from "../api/queries";
import type { DatasetView } from "../api/types";
import { count, counted } from "../format/number";
import { Drift } from "../plots/Drift";
import { Lines } from "../plots/Lines";
import { day } from "../format/time";
import { page } from "../routes";
import { Page, Section } from "../ui/layout";
import { Snapshots } from "../ui/snapshots";
import { Empty, Load } from "../ui/state";
import { Pages } from "./sweep/Leaderboard";

export function Dataset({ name }: { name: string }) {
  const [offset, setOffset] = useState(0);
  const dataset = useDataset(name, offset);
  return (
    <Page title={name} crumbs={[{ label: "Data", to: page("data") }]} facts={dataset.data && counted(dataset.data.total, "snapshot")}>
      <Load query={dataset} lines={12}>
        {(view) => (
          <>
            <Rows view={view} />
            <Section title="Snapshots" aside="newest first">
              {view.snapshots.length ? <Snapshots rows={view.snapshots} /> : <Empty>No snapshot was taken yet.</Empty>}
              {view.total > 50 && <Pages board={{ offset }} total={view.total} change={(part) => setOffset(part.offset)} />}
            </Section>
            <Section title="Drift over time">
              {view.drift.length ? <Drift reports={view.drift} /> : <Empty hint="monitor compares what a model scores with what it was trained on.">No drift was measured yet.</Empty>}
            </Section>
          </>
        )}
      </Load>
    </Page>
  );
}

/** Rows of the snapshots shown, and what of them was set aside. */
function Rows({ view }: { view: DatasetView }) {
  const oldest = view.snapshots.toReversed();
  if (oldest.length < 2) {
    return null;
  }
  const x = { label: "as of", values: oldest.map((row) => Date.parse(row.as_of)), format: (at: number) => day(new Date(at).toISOString()), time: true };
  return (
    <Section title="Rows over time">
      <Box display="grid" gridTemplateColumns="repeat(auto-fit, minmax(min(100%, 28rem), 1fr))" gap={6}>
        <Lines title="Rows" height={180} dots zero x={x} format={count} series={[{ name: "rows", values: oldest.map((row) => row.rows) }]} />
        {oldest.some((row) => row.gate?.quarantined) && (
          <Lines
            title="Rows set aside by the gate" height={180} dots zero x={x} format={count}
            series={[{ name: "set aside", values: oldest.map((row) => row.gate?.quarantined ?? null) }]}
          />
        )}
      </Box>
    </Section>
  );
}
