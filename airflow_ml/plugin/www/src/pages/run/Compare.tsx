/** The ranked differences from another run of the same DAG. */

import { HStack, NativeSelect, Text } from "@chakra-ui/react";
import { useState } from "react";
import { useSearchParams } from "react-router-dom";

import { useDiff, useRuns } from "../../api/queries";
import type { Change, RunView } from "../../api/types";
import { moment } from "../../format/time";
import { page } from "../../routes";
import { Grid, type Column } from "../../ui/grid";
import { Section, To } from "../../ui/layout";
import { Empty, Load } from "../../ui/state";

const CHANGES: readonly Column<Change>[] = [
  { key: "kind", label: "Of", cell: (change) => <Text fontWeight="medium">{change.kind}</Text> },
  { key: "task", label: "First in", width: "9rem", cell: (change) => change.task },
  { key: "what", label: "What", width: "24rem", cell: (change) => change.what },
];

export function Compare({ view }: { view: RunView }) {
  const [query] = useSearchParams();
  const [other, setOther] = useState(query.get("with_run_id") ?? view.earlier[0]?.run_id ?? "");
  const [asked, ask] = useState(false);
  const runs = useRuns(view.dag_id, asked);
  const diff = useDiff(view.dag_id, view.run_id, other || null);
  const known = runs.data ?? view.earlier;
  const options = known.filter((run) => run.run_id !== view.run_id);
  return (
    <Section
      title="Compared with"
      aside={
        options.length > 0 && (
          <HStack gap={3}>
            <NativeSelect.Root size="xs" width="auto" maxW="30rem">
              {/* All runs are asked for when somebody reaches for the list. */}
              <NativeSelect.Field
                aria-label="Run to compare with" value={other} onFocus={() => ask(true)}
                onChange={(event) => setOther(event.currentTarget.value)}
              >
                <option value="">no run</option>
                {options.map((run) => <option key={run.run_id} value={run.run_id}>{`${run.run_id} (${moment(run.started_at)})`}</option>)}
              </NativeSelect.Field>
              <NativeSelect.Indicator />
            </NativeSelect.Root>
            {other && <To to={page("run", { dag_id: view.dag_id, run_id: other })}>Open it</To>}
          </HStack>
        )
      }
    >
      {!other ? (
        <Empty>{options.length ? "Choose a run." : "This is the first run of its DAG."}</Empty>
      ) : (
        <Load query={diff}>
          {(value) =>
            value.changes.length ? (
              <Grid columns={CHANGES} rows={value.changes} rowKey={(_, at) => String(at)} label="Differences, what people changed first" height="26rem" />
            ) : (
              <Empty>The two runs agree in code, parameters, environment, data and outcome.</Empty>
            )
          }
        </Load>
      )}
    </Section>
  );
}
