/** What a sweep over groups is asked for: the best trial of each. */

import { Box } from "@chakra-ui/react";

import type { BestTrial, SweepView } from "../../api/types";
import { duration } from "../../format/time";
import { Grid } from "../../ui/grid";
import { written } from "./Leaderboard";

export function Groups({ view, openTrial }: { view: SweepView; openTrial: (name: string) => void }) {
  const rows = view.best_by_group;
  return (
    <Grid<BestTrial>
      label="Best of each group" rows={rows} rowKey={(row) => row.group} height="20rem"
      columns={[
        { key: "group", label: "Group", width: "6rem", cell: (row) => row.group },
        { key: "value", label: view.metric, figure: true, cell: written(rows, (row) => row.value) },
        ...view.space.map(({ name }) => ({ key: name, label: name, figure: true, cell: written(rows, (row) => row.params[name]) })),
        { key: "seconds", label: "Took", figure: true, cell: (row) => duration(row.seconds) },
        {
          key: "trial", label: "Trial", width: "5rem",
          cell: (row) => <Box as="button" textAlign="start" cursor="pointer" color="fg.info" onClick={() => openTrial(row.trial)}>{row.trial}</Box>,
        },
      ]}
    />
  );
}
