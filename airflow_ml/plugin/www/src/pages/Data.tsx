/** All datasets, each with its newest snapshot. */

import { useDatasets } from "../api/queries";
import type { DatasetList } from "../api/types";
import { bytes, count, counted } from "../format/number";
import { page } from "../routes";
import { Grid, type Column } from "../ui/grid";
import { Page, Section, To } from "../ui/layout";
import { GateCell } from "../ui/snapshots";
import { Empty, Load } from "../ui/state";
import { Time } from "../ui/words";

const COLUMNS: readonly Column<DatasetList["datasets"][number]>[] = [
  { key: "name", label: "Dataset", width: "12rem", cell: (row) => <To to={page("dataset", { name: row.name })}>{row.name}</To> },
  { key: "gate", label: "Gate", cell: (row) => <GateCell row={row.newest} /> },
  { key: "rows", label: "Rows", figure: true, cell: (row) => count(row.newest.rows) },
  { key: "columns", label: "Columns", figure: true, cell: (row) => count(row.newest.columns) },
  { key: "size", label: "Size", figure: true, cell: (row) => bytes(row.newest.size_bytes) },
  { key: "as_of", label: "As of", cell: (row) => <Time at={row.newest.as_of} /> },
  { key: "source", label: "Source", width: "10rem", cell: (row) => row.newest.source },
  { key: "snapshots", label: "Snapshots", figure: true, cell: (row) => count(row.snapshots) },
];

export function Data() {
  const datasets = useDatasets();
  return (
    <Page title="Data" facts={datasets.data && counted(datasets.data.datasets.length, "dataset")}>
      <Load query={datasets}>
        {(value) => (
          <Section title="Newest snapshots">
            {value.datasets.length ? (
              <Grid columns={COLUMNS} rows={value.datasets} rowKey={(row) => row.name} label="Datasets" />
            ) : (
              <Empty hint="snapshot writes here.">No snapshot was taken yet.</Empty>
            )}
          </Section>
        )}
      </Load>
    </Page>
  );
}
