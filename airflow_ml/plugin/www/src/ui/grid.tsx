/** A dense table: figures to the right, texts that wrap, headers that sort. */

import { Box, Table } from "@chakra-ui/react";
import type { ReactNode } from "react";

import { SCROLLS } from "./scrolls";
import { FIGURES } from "./words";

export interface Column<T> {
  key: string;
  label: ReactNode;
  cell: (row: T) => ReactNode;
  figure?: boolean;
  /** To the right as a figure, and wraps as a text: for columns that hold both. */
  end?: boolean;
  /** The least width of a text column, the most of a long one. */
  width?: string;
  /** By what the server sorts; a column without it does not sort. */
  sort?: string;
}

export interface Sorting {
  by: string;
  descending: boolean;
  change: (by: string) => void;
}

interface Props<T> {
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T, position: number) => string;
  label: string;
  sorting?: Sorting;
  selected?: (row: T) => boolean;
  /** Scrolls within this height, with its header in view. */
  height?: string;
}

export function Grid<T>({ columns, rows, rowKey, label, sorting, selected, height }: Props<T>) {
  return (
    // A region that scrolls must be reachable by keyboard.
    <Box overflow="auto" maxH={height} tabIndex={0} role="region" aria-label={label} mx={-3} my={-1} css={SCROLLS}>
      <Table.Root size="sm" fontSize="sm" aria-label={label} stickyHeader={Boolean(height)} bg="transparent" css={CELLS}>
        <Table.Header>
          <Table.Row bg={height ? "bg.panel" : "transparent"}>
            {columns.map((column) => (
              <Table.ColumnHeader
                key={column.key}
                textAlign={column.figure || column.end ? "end" : "start"}
                color="fg.muted"
                fontSize="xs"
                fontWeight="medium"
                whiteSpace="nowrap"
                px={3}
                py={1.5}
                aria-sort={ariaSort(column, sorting)}
              >
                <Header column={column} sorting={sorting} />
              </Table.ColumnHeader>
            ))}
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {/* Plain elements, styled once from the table: a leaderboard has a thousand cells. */}
          {rows.map((row, position) => (
            <tr key={rowKey(row, position)} data-selected={selected?.(row) ? "" : undefined}>
              {columns.map((column) => (
                <td
                  key={column.key} className={column.figure ? "figure" : column.end ? "end" : undefined}
                  style={column.figure ? undefined : { minWidth: column.width }}
                >
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </Table.Body>
      </Table.Root>
    </Box>
  );
}

const CELLS = {
  "& tbody td": {
    paddingInline: "3", paddingBlock: "1.5", borderBottomWidth: "1px", verticalAlign: "top", maxWidth: "36rem",
    overflowWrap: "anywhere", ...FIGURES,
  },
  "& tbody td.figure": { textAlign: "end", whiteSpace: "nowrap" },
  "& tbody td.end": { textAlign: "end" },
  "& tbody tr:last-of-type td": { borderBottomWidth: "0" },
  "& tbody tr[data-selected]": { background: "bg.muted" },
} as const;

function Header<T>({ column, sorting }: { column: Column<T>; sorting: Sorting | undefined }) {
  const by = column.sort;
  if (!sorting || !by) {
    return <>{column.label}</>;
  }
  const arrow = sorting.by !== by ? "" : sorting.descending ? " ↓" : " ↑";
  return (
    <Box as="button" cursor="pointer" fontWeight="medium" onClick={() => sorting.change(by)} _hover={{ color: "fg" }}>
      {column.label}
      {arrow}
    </Box>
  );
}

function ariaSort<T>(column: Column<T>, sorting: Sorting | undefined) {
  if (!sorting || column.sort !== sorting.by) {
    return undefined;
  }
  return sorting.descending ? "descending" : "ascending";
}
