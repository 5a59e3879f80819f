/** Snapshots in a table, and what their gate said. */

import { Text } from "@chakra-ui/react";

import type { SnapshotRow } from "../api/types";
import { bytes, count } from "../format/number";
import { taskPage } from "../routes";
import { Grid, type Column } from "./grid";
import { To } from "./layout";
import { DigestText, Made, Mark, Time } from "./words";

export function GateCell({ row }: { row: SnapshotRow }) {
  if (!row.gate) {
    return <Text as="span" color="fg.muted">no gate</Text>;
  }
  return (
    <>
      <Mark of={row.gate.verdict} />
      {row.gate.quarantined > 0 && <Text fontSize="xs" color="fg.muted" whiteSpace="nowrap">{`${count(row.gate.quarantined)} set aside`}</Text>}
    </>
  );
}

const COLUMNS: readonly Column<SnapshotRow>[] = [
  { key: "as_of", label: "As of", cell: (row) => <To to={taskPage("snapshot", row.task)}><Time at={row.as_of} /></To> },
  { key: "gate", label: "Gate", cell: (row) => <GateCell row={row} /> },
  { key: "rows", label: "Rows", figure: true, cell: (row) => count(row.rows) },
  { key: "columns", label: "Columns", figure: true, cell: (row) => count(row.columns) },
  { key: "size", label: "Size", figure: true, cell: (row) => bytes(row.size_bytes) },
  { key: "digest", label: "Content", cell: (row) => <DigestText digest={row.digest} /> },
  { key: "consistency", label: "Read as", cell: (row) => row.consistency.replaceAll("_", " ") },
  { key: "task", label: "Made by", width: "9rem", cell: (row) => <Made task={row.task} at={row.made_at} /> },
];

export function Snapshots({ rows }: { rows: readonly SnapshotRow[] }) {
  return <Grid columns={COLUMNS} rows={rows} rowKey={(row, at) => `${row.digest}${at}`} label="Snapshots" />;
}
