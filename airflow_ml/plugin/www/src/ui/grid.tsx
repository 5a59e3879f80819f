/** A dense table: figures to the right, texts that wrap, headers that sort. */

import { Box, Table } from "@chakra-ui/react";
import type { ReactNode } from "react";

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
    <Box overflow="auto" maxH={height} tabIndex={0} role="region" aria-label={label} mx={-3} my={-1}>
      <Table.Root size="sm" fontSize="sm" aria-label={label} stickyHeader={Boolean(height)} bg="transparent">
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
          {rows.map((row, position) => (
            <Table.Row
              key={rowKey(row, position)}
              bg={selected?.(row) ? "bg.muted" : "transparent"}
              css={{ "&:last-of-type td": { borderBottomWidth: 0 } }}
            >
              {columns.map((column) => (
                <Table.Cell
                  key={column.key}
                  textAlign={column.figure || column.end ? "end" : "start"}
                  verticalAlign="top"
                  px={3}
                  py={1.5}
                  minW={column.figure ? undefined : column.width}
                  maxW="36rem"
                  whiteSpace={column.figure ? "nowrap" : "normal"}
                  overflowWrap="anywhere"
                  {...FIGURES}
                >
                  {column.cell(row)}
                </Table.Cell>
              ))}
            </Table.Row>
          ))}
        </Table.Body>
      </Table.Root>
    </Box>
  );
}

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
