/** One trial: what it was given, what came of it, where its output is, and how to run it again. */

import { Box, CloseButton, Drawer, HStack, Portal, Text } from "@chakra-ui/react";

import { useTrial } from "../../api/queries";
import type { TrialView } from "../../api/types";
import { number } from "../../format/number";
import { inline } from "../../format/text";
import { duration } from "../../format/time";
import { Lines } from "../../plots/Lines";
import { Facts } from "../../ui/facts";
import { Load } from "../../ui/state";
import { Command, Mark, TaskLink } from "../../ui/words";

interface Props {
  place: { dag: string; run: string; task: string };
  trial: string;
  metric: string;
  close: () => void;
}

export function Trial({ place, trial, metric, close }: Props) {
  const view = useTrial(place.dag, place.run, place.task, trial);
  return (
    <Drawer.Root open size="md" onOpenChange={(change) => { if (!change.open) { close(); } }}>
      <Portal>
        <Drawer.Backdrop />
        <Drawer.Positioner>
          <Drawer.Content overflowWrap="anywhere">
            <Drawer.Header borderBottomWidth="1px">
              <HStack gap={3}>
                <Drawer.Title fontSize="md" overflowWrap="anywhere">{`Trial ${trial}`}</Drawer.Title>
                {view.data && <Mark of={view.data.status} />}
              </HStack>
            </Drawer.Header>
            <Drawer.Body py={4}>
              <Load query={view} lines={10}>{(value) => <Told view={value} metric={metric} />}</Load>
            </Drawer.Body>
            <Drawer.CloseTrigger asChild><CloseButton size="sm" /></Drawer.CloseTrigger>
          </Drawer.Content>
        </Drawer.Positioner>
      </Portal>
    </Drawer.Root>
  );
}

function Told({ view, metric }: { view: TrialView; metric: string }) {
  const others = Object.entries(view.metrics).filter(([name]) => name !== metric);
  return (
    <>
      <Facts
        items={[
          { label: metric, value: number(view.value) },
          ...others.map(([name, value]) => ({ label: name, value: number(value) })),
          ...(view.group ? [{ label: "Group", value: view.group }] : []),
          { label: "Took", value: duration(view.seconds) },
          { label: "Seed", value: String(view.seed) },
          { label: "Shard", value: String(view.shard) },
          { label: "Log", value: <TaskLink task={view.log} /> },
          ...(view.reason ? [{ label: "Reason", value: view.reason }] : []),
        ]}
      />
      <Part title="Parameters">
        <Facts
          items={Object.entries(view.params).map(([label, value]) => ({
            label, value: typeof value === "number" ? String(value) : inline(value, 500),
          }))}
        />
      </Part>
      {view.reports.length > 0 && (
        <Part title="Reports">
          <Lines
            title={`${metric} by step`} height={180} dots={view.reports.length < 40}
            x={{ label: "step", values: view.reports.map((report) => report.step) }}
            series={[{ name: metric, values: view.reports.map((report) => report.value) }]}
          />
        </Part>
      )}
      {view.traceback && (
        <Part title="Traceback">
          <Box as="pre" fontSize="xs" fontFamily="mono" overflow="auto" maxH="20rem" bg="bg.subtle" p={3} borderRadius="sm" tabIndex={0}>
            {view.traceback}
          </Box>
        </Part>
      )}
      {view.reproduce && <Part title="Run it again"><Command text={view.reproduce} /></Part>}
    </>
  );
}

function Part({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <Box mt={5}>
      <Text as="h3" fontSize="sm" fontWeight="semibold" mb={2}>{title}</Text>
      {children}
    </Box>
  );
}
