/** Where a task's operator leads to: pages of its sweep, model, canary or data, MLflow, the warehouse's query history. */

import { HStack } from "@chakra-ui/react";

import { useAirflowLinks } from "../api/queries";
import type { TaskRef } from "../api/types";
import { safeUrl } from "../format/url";
import { pageOf, routeOf } from "../routes";
import { To } from "./layout";
import { Out } from "./words";

export function TaskLinks({ task }: { task: TaskRef }) {
  const links = useAirflowLinks(task);
  const found = Object.entries(links.data ?? {}).flatMap(([name, address]) => {
    const route = routeOf(address ?? "");
    // The task's own page is where this stands.
    return (route ? pageOf(route) !== "task" : safeUrl(address)) ? [{ name, address, route }] : [];
  });
  return found.length > 0 && (
    <HStack as="nav" aria-label="Pages of this task" gap={4} fontSize="sm" mb={3} wrap="wrap">
      {found.map(({ name, address, route }) =>
        route ? <To key={name} to={route}>{name}</To> : <Out key={name} address={address}>{name}</Out>,
      )}
    </HStack>
  );
}
