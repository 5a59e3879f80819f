/** One snapshot: its columns, its first rows, what its gate found and what was set aside. */

import { HStack, Text } from "@chakra-ui/react";

import { useSnapshot } from "../api/queries";
import type { ColumnProfile, SnapshotView } from "../api/types";
import { bytes, count, number, percent } from "../format/number";
import { dataTime } from "../format/text";
import { page } from "../routes";
import { Figures } from "../ui/facts";
import { Gate } from "../ui/gate";
import { Grid, type Column } from "../ui/grid";
import { Below, Page, Section } from "../ui/layout";
import { Preview } from "../ui/preview";
import { Distribution } from "../ui/distribution";
import { Load, Present } from "../ui/state";
import { DigestText, Mark, Name, Out, TaskLink, Time } from "../ui/words";

interface Props {
  dag: string;
  run: string;
  task: string;
}

export function Snapshot({ dag, run, task }: Props) {
  const snapshot = useSnapshot(dag, run, task);
  const row = snapshot.data?.row;
  return (
    <Page
      title={
        <HStack gap={3} wrap="wrap">
          <span>{row?.name ?? task}</span>
          {row?.gate && <Mark of={row.gate.verdict} />}
        </HStack>
      }
      crumbs={[
        { label: "Data", to: page("data") },
        ...(row ? [{ label: row.name, to: page("dataset", { name: row.name }) }] : []),
        { label: run, to: page("run", { dag_id: dag, run_id: run }) },
      ]}
      facts={row && <>as of <Time at={row.as_of} /> · <TaskLink task={row.task} /></>}
      actions={snapshot.data?.query_history && <Text fontSize="sm"><Out address={snapshot.data.query_history}>Query history</Out></Text>}
    >
      <Load query={snapshot} lines={14}>{(view) => <Whole view={view} />}</Load>
    </Page>
  );
}

function Whole({ view }: { view: SnapshotView }) {
  const { row } = view;
  return (
    <>
      <Figures
        items={[
          { label: "Rows", value: count(row.rows), note: row.gate ? `${count(row.gate.quarantined)} set aside` : "no gate" },
          { label: "Columns", value: count(row.columns) },
          { label: "Size", value: bytes(row.size_bytes), note: "Parquet" },
          { label: "Read as", value: row.consistency.replaceAll("_", " "), note: row.source },
          { label: "Content", value: <DigestText digest={row.digest} /> },
          { label: "Statement", value: <Text fontSize="xs" fontFamily="mono">{view.statement_id || "–"}</Text> },
        ]}
      />
      <Section title="Gate"><Present part={view.gate}>{(gate) => <Gate gate={gate} />}</Present></Section>
      <Below>
        <Section title="Columns" aside={view.profile_from === "values" ? "from all values" : "from the file's own statistics"}>
          <Present part={view.profile}>
            {(columns) => (
              <Grid columns={profileColumns(row.rows)} rows={columns} rowKey={(column) => column.name} label="Columns" height="40rem" />
            )}
          </Present>
        </Section>
        <Section title="First rows"><Present part={view.preview}>{(table) => <Preview table={table} label="First rows" />}</Present></Section>
        <Section title="Set aside" aside="the first 50 rows that broke a critical rule">
          <Present part={view.quarantine}>{(table) => <Preview table={table} label="Rows set aside" />}</Present>
        </Section>
      </Below>
    </>
  );
}

function profileColumns(rows: number): Column<ColumnProfile>[] {
  const value = (one: string | number | null) => (typeof one === "number" ? number(one) : one === null ? "–" : dataTime(one));
  return [
    { key: "name", label: "Column", width: "8rem", cell: (column) => <Name>{column.name}</Name> },
    { key: "dtype", label: "Type", width: "5rem", cell: (column) => <Text as="span" fontSize="xs" color="fg.muted">{column.dtype}</Text> },
    {
      key: "nulls", label: "Nulls", figure: true,
      cell: (column) => (column.nulls ? `${count(column.nulls)} (${percent(column.nulls / Math.max(rows, 1))})` : count(column.nulls)),
    },
    { key: "distinct", label: "Distinct", figure: true, cell: (column) => count(column.distinct) },
    { key: "minimum", label: "Least", end: true, width: "6rem", cell: (column) => value(column.minimum) },
    { key: "mean", label: "Mean", figure: true, cell: (column) => number(column.mean) },
    { key: "maximum", label: "Greatest", end: true, width: "6rem", cell: (column) => value(column.maximum) },
    { key: "values", label: "Values", width: "12rem", cell: (column) => <Distribution column={column} rows={rows} /> },
  ];
}
