/** The trials by how they ended, as one bar with its figures. */

import { Box, Flex, HStack, Text } from "@chakra-ui/react";

import type { SweepView } from "../../api/types";
import { count } from "../../format/number";
import { words } from "../../format/text";
import { FIGURES } from "../../ui/words";

const PARTS = [
  ["succeeded", "green.solid"], ["pruned", "blue.emphasized"], ["failed", "red.solid"], ["timed_out", "orange.solid"],
  ["killed", "orange.emphasized"], ["lost", "gray.solid"], ["not_run", "gray.emphasized"],
] as const;

export function Progress({ progress }: { progress: SweepView["progress"] }) {
  const open = Math.max(0, progress.trials - PARTS.reduce((sum, [name]) => sum + progress[name], 0));
  const parts = PARTS.map(([name, colour]) => ({ name, colour, trials: progress[name] })).filter((part) => part.trials > 0);
  return (
    <Box>
      <Flex height="10px" borderRadius="sm" overflow="hidden" bg="bg.emphasized" gap="1px" aria-hidden>
        {parts.map((part) => (
          <Box key={part.name} bg={part.colour} flexGrow={part.trials} flexBasis="2px" />
        ))}
        {open > 0 && <Box flexGrow={open} />}
      </Flex>
      <HStack gap={4} mt={2} wrap="wrap" fontSize="xs" {...FIGURES}>
        {parts.map((part) => (
          <HStack key={part.name} gap={1.5}>
            <Box boxSize="8px" borderRadius="2px" bg={part.colour} aria-hidden />
            <Text color="fg.muted">{words(part.name)}</Text>
            <Text>{count(part.trials)}</Text>
          </HStack>
        ))}
        {open > 0 && <Text color="fg.muted">{`open ${count(open)}`}</Text>}
      </HStack>
    </Box>
  );
}
