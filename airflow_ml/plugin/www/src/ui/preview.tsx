/** The first rows of a table, and a value of the records as text. */

import { Box, Text } from "@chakra-ui/react";

import type { Json, Table } from "../api/types";
import { counted, count, number } from "../format/number";
import { dataTime } from "../format/text";
import { Grid } from "./grid";
import { Empty } from "./state";

export function Preview({ table, label }: { table: Table; label: string }) {
  if (!table.rows.length) {
    return <Empty>The table has no rows.</Empty>;
  }
  const left = table.total_columns - table.columns.length;
  return (
    <>
      <Grid<Table["rows"][number]>
        label={label} rows={table.rows} rowKey={(_, at) => String(at)} height="24rem"
        columns={table.columns.map((column, at) => ({
          key: `${column.name}${at}`,
          label: <span title={column.dtype}>{column.name}</span>,
          figure: /^(u?int|float|double|decimal)/.test(column.dtype),
          width: "5rem",
          cell: (row) => {
            const value = row[at] ?? null;
            return value === null ? <Text as="span" color="fg.muted" fontStyle="italic">null</Text> : typeof value === "number" && !Number.isInteger(value) ? number(value, 6) : dataTime(String(value));
          },
        }))}
      />
      <Text fontSize="xs" color="fg.muted" mt={3}>
        {`${count(table.rows.length)} of ${counted(table.total_rows, "row")}`}
        {left > 0 && `; ${counted(left, "more column")}`}
      </Text>
    </>
  );
}

/** A value as indented JSON. */
export function JsonText({ value, height = "20rem" }: { value: Json; height?: string }) {
  return (
    <Box
      as="pre" fontSize="xs" fontFamily="mono" bg="bg.subtle" borderRadius="sm" p={3} maxH={height} overflow="auto"
      whiteSpace="pre-wrap" overflowWrap="anywhere" tabIndex={0}
    >
      {typeof value === "string" ? value : JSON.stringify(value, null, 2)}
    </Box>
  );
}
