/** Labelled values: a strip of figures, and a list of facts. */

import { Box, Flex, Text } from "@chakra-ui/react";
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
    <Flex as="dl" wrap="wrap" rowGap={4} borderWidth="1px" borderRadius="md" bg="bg.panel" py={3} mb={4}>
      {items.map((item) => (
        <Box
          key={item.label} px={4} minW="8rem" maxW="24rem" flex="1 1 auto"
          borderInlineEndWidth="1px" _last={{ borderInlineEndWidth: 0 }}
        >
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
        </Box>
      ))}
    </Flex>
  );
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
