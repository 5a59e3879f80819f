/** All trials, sorted, filtered and paged by the server. */

import { Box, Button, HStack, Input, NativeSelect, Text } from "@chakra-ui/react";
import { useEffect, useState } from "react";
import { useSearchParams } from "react-router-dom";

import { apiUrl, segment } from "../../api/client";
import { useTrials } from "../../api/queries";
import type { Json, TrialPage, TrialRow } from "../../api/types";
import { aligned, count } from "../../format/number";
import { inline, words } from "../../format/text";
import { duration } from "../../format/time";
import { Grid, type Column } from "../../ui/grid";
import { Empty, Load } from "../../ui/state";
import { Mark, Out } from "../../ui/words";
import { boardQuery, PAGE_ROWS, readBoard, sortedBy, writeBoard, type Board } from "./board";

interface Props {
  place: { dag: string; run: string; task: string };
  metric: string;
  /** Whether it weighs several objectives, so that some trials are on the front. */
  several: boolean;
  running: boolean;
  open: (trial: string) => void;
}

export function Leaderboard({ place, metric, several, running, open }: Props) {
  const [query, setQuery] = useSearchParams();
  const board = readBoard(query);
  const change = (part: Partial<Board>) => setQuery((asked) => writeBoard(asked, part), { replace: true });
  const trials = useTrials(place.dag, boardQuery(place, board), running);
  const file = apiUrl(`dags/${segment(place.dag)}/sweep/csv`, { run_id: place.run, task_id: place.task });
  return (
    <Load query={trials} lines={10}>
      {(value) => (
        <>
          <Filters board={board} several={several} found={value} change={change} file={file} />
          {value.trials.length ? (
            <Grid
              columns={columns(value, metric, several, open)} rows={value.trials} rowKey={(row) => row.trial} label="Trials"
              sorting={{ by: board.sort, descending: board.order === "desc", change: (by) => change(sortedBy(board, by)) }}
              selected={(row) => row.trial === query.get("trial")} height="36rem"
            />
          ) : (
            <Empty hint="Change or clear the filters.">No trial matches.</Empty>
          )}
          <Pages board={board} total={value.total} change={change} />
        </>
      )}
    </Load>
  );
}

function columns(found: TrialPage, metric: string, several: boolean, open: (trial: string) => void): Column<TrialRow>[] {
  const grouped = found.groups.length > 1;
  return [
    {
      key: "trial", label: "Trial", sort: "trial",
      cell: (row) => <Box as="button" textAlign="start" cursor="pointer" color="fg.info" onClick={() => open(row.trial)}>{row.trial}</Box>,
    },
    ...(grouped ? [{ key: "group", label: "Group", sort: "group", width: "6rem", cell: (row: TrialRow) => row.group }] : []),
    { key: "status", label: "Status", sort: "status", cell: (row) => <Mark of={row.status} /> },
    ...(several ? [{ key: "front", label: "Front", cell: (row: TrialRow) => (row.front ? <Mark of="front" /> : "–") }] : []),
    { key: "value", label: metric, figure: true, sort: "rank", cell: written(found.trials, (row) => row.value) },
    ...found.metrics
      .filter((name) => name !== metric)
      .map((name) => ({
        key: `m.${name}`, label: name, figure: true, sort: name, cell: written(found.trials, (row) => row.metrics[name]),
      })),
    ...found.params.map((name) => ({
      key: `p.${name}`, label: name, figure: true, sort: name,
      cell: written(found.trials, (row) => row.params[name]),
    })),
    { key: "seconds", label: "Took", figure: true, sort: "seconds", cell: (row) => duration(row.seconds) },
    { key: "reason", label: "Reason", width: "10rem", cell: (row) => row.reason },
  ];
}

/** The values of a column, numbers among them with their points below each other. */
export function written<T>(rows: readonly T[], of: (row: T) => Json | undefined): (row: T) => string {
  const figure = aligned(rows.map(of).filter((value) => typeof value === "number"));
  return (row) => {
    const value = of(row);
    return typeof value === "number" ? figure(value) : inline(value, 60);
  };
}

interface FilterProps {
  board: Board;
  several: boolean;
  found: TrialPage;
  change: (part: Partial<Board>) => void;
  file: string;
}

function Filters({ board, several, found, change, file }: FilterProps) {
  const [text, setText] = useState(board.text);
  useEffect(() => {
    const timer = text === board.text ? undefined : setTimeout(() => change({ text }), 300);
    return () => clearTimeout(timer);
  });
  return (
    <HStack gap={2} mb={3} wrap="wrap">
      <Input
        size="xs" maxW="18rem" type="search" placeholder="Trial, group, parameter or reason" aria-label="Find trials"
        value={text} onChange={(event) => setText(event.currentTarget.value)}
      />
      <Choice
        label="Status" all="any status" value={board.status} options={found.statuses}
        change={(status) => change({ status })}
      />
      {found.groups.length > 1 && (
        <Choice label="Group" all="all groups" value={board.group} options={found.groups} change={(group) => change({ group })} />
      )}
      {several && (
        <Choice label="Front" all="all trials" value={board.front} options={["true"]} change={(front) => change({ front })} />
      )}
      {(board.text || board.status || board.group || board.front) && (
        <Button size="xs" variant="ghost" onClick={() => { setText(""); change({ text: "", status: "", group: "", front: "" }); }}>Clear</Button>
      )}
      <Text fontSize="xs" color="fg.muted" ms="auto"><Out address={file}>All as CSV</Out></Text>
    </HStack>
  );
}

interface ChoiceProps {
  label: string;
  all: string;
  value: string;
  options: readonly string[];
  change: (value: string) => void;
}

const NAMED: Record<string, (option: string) => string> = { Status: words, Front: () => "those that no other beats" };

function Choice({ label, all, value, options, change }: ChoiceProps) {
  return (
    <NativeSelect.Root size="xs" width="auto" maxW="16rem">
      <NativeSelect.Field aria-label={label} value={value} onChange={(event) => change(event.currentTarget.value)}>
        <option value="">{all}</option>
        {options.map((option) => <option key={option} value={option}>{NAMED[label]?.(option) ?? option}</option>)}
      </NativeSelect.Field>
      <NativeSelect.Indicator />
    </NativeSelect.Root>
  );
}

export function Pages({ board, total, change, rows = PAGE_ROWS }: { board: { offset: number }; total: number; change: (part: { offset: number }) => void; rows?: number }) {
  const last = Math.min(total, board.offset + rows);
  return (
    <HStack gap={2} mt={3} fontSize="xs" color="fg.muted" justify="flex-end">
      <Text aria-live="polite">{total ? `${count(board.offset + 1)} to ${count(last)} of ${count(total)}` : "none"}</Text>
      <Button size="2xs" variant="outline" disabled={board.offset === 0} onClick={() => change({ offset: 0 })}>First</Button>
      <Button size="2xs" variant="outline" disabled={board.offset === 0} onClick={() => change({ offset: Math.max(0, board.offset - rows) })}>Back</Button>
      <Button size="2xs" variant="outline" disabled={last >= total} onClick={() => change({ offset: board.offset + rows })}>Next</Button>
    </HStack>
  );
}
