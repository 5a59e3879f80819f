/** Labelled values: a strip of figures, and a list of facts. */

import { Box, Text } from "@chakra-ui/react";
import { Fragment, type ReactNode } from "react";

import { FIGURES } from "./words";

export interface Fact {
  label: string;
  value: ReactNode;
  /** A few words below the value. */
  note?: ReactNode;
}

/** Figures side by side, the ones that a page is about. */
export function Figures({ items }: { items: readonly Fact[] }) {
  return (
    <Box borderWidth="1px" borderRadius="md" bg="bg.panel" py={3} mb={4} overflow="hidden" containerType="inline-size">
    <Box as="dl" css={tiles(items.length)}>
      {items.map((item) => (
        <div key={item.label}>
          <Text as="dt" fontSize="xs" color="fg.muted" truncate title={item.label}>
            {item.label}
          </Text>
          <Box as="dd" fontSize="md" fontWeight="medium" lineHeight="1.5" overflowWrap="anywhere" {...FIGURES}>
            {item.value}
          </Box>
          {item.note !== undefined && (
            <Box as="dd" fontSize="xs" color="fg.muted" overflowWrap="anywhere" {...FIGURES}>
              {item.note}
            </Box>
          )}
        </div>
      ))}
    </Box>
    </Box>
  );
}

/**
 * One row, or two of the same length where the page is too narrow for one. Each tile has its rule on its left, and that
 * of a row's first is cut off.
 */
function tiles(items: number) {
  const half = Math.ceil(items / 2);
  return {
    display: "grid", gridTemplateColumns: `repeat(${half}, minmax(0, 1fr))`, rowGap: "4", marginInlineStart: "-1px",
    "& > *": { paddingInline: "4", borderInlineStartWidth: "1px", minWidth: 0 },
    [`@container (min-width: ${10 * items}rem)`]: { gridTemplateColumns: `repeat(${items}, minmax(0, auto))` },
  } as const;
}

/** Facts below each other. */
export function Facts({ items }: { items: readonly Fact[] }) {
  return (
    <Box as="dl" display="grid" gridTemplateColumns="minmax(6rem, max-content) 1fr" columnGap={5} rowGap={1} fontSize="sm">
      {items.map((item) => (
        <Fragment key={item.label}>
          <Text as="dt" color="fg.muted" overflowWrap="anywhere" maxW="16rem">
            {item.label}
          </Text>
          <Box as="dd" minW={0} overflowWrap="anywhere" {...FIGURES}>
            {item.value}
          </Box>
        </Fragment>
      ))}
    </Box>
  );
}
