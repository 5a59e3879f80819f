/** The states that a part of a page can be in: loading, failed, stale, absent, present. */

import { Alert, Box, Button, Text } from "@chakra-ui/react";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { ApiFailure } from "../api/client";
import type { Part } from "../api/types";
import { moment } from "../format/time";
import { Section } from "./layout";

/** Show what a query has: its answer, old or new, or why there is none; `missing` for an answer of "not found". */
export function Load<T>({
  query, children, lines = 6, missing,
}: { query: UseQueryResult<T>; children: (value: T) => ReactNode; lines?: number; missing?: ReactNode }) {
  if (query.data !== undefined) {
    return (
      <>
        {query.isError && <Stale since={query.dataUpdatedAt} error={query.error} />}
        <Box opacity={query.isPlaceholderData ? 0.6 : 1} aria-busy={query.isPlaceholderData}>
          {children(query.data)}
        </Box>
      </>
    );
  }
  if (missing && query.error instanceof ApiFailure && query.error.status === 404) {
    return <Section title="Records">{missing}</Section>;
  }
  if (query.isError) {
    return <Failed error={query.error} retry={() => void query.refetch()} />;
  }
  return <Loading lines={lines} />;
}

export function Loading({ lines }: { lines: number }) {
  return (
    <Box role="status" aria-label="Loading" py={2} css={LINES}>
      {Array.from({ length: lines }, (_, line) => <div key={line} />)}
    </Box>
  );
}

/** One style for all lines, and no component for each: this is drawn while an answer is on its way. */
const LINES = {
  "& > div": { height: "14px", marginBottom: "12px", borderRadius: "2px", background: "bg.emphasized", animation: "pulse" },
  "& > div:nth-of-type(3n)": { width: "62%" },
} as const;

export function Failed({ error, retry }: { error: Error; retry?: () => void }) {
  const { remedy, errorId } = error instanceof ApiFailure ? error : { remedy: "", errorId: "" };
  const missing = error instanceof ApiFailure && (error.status === 404 || error.status === 403);
  return (
    <Alert.Root status={missing ? "neutral" : "error"} size="sm" my={2}>
      <Alert.Indicator />
      <Alert.Content>
        <Alert.Title overflowWrap="anywhere">{error.message}</Alert.Title>
        <Alert.Description>
          {remedy}
          {errorId && ` The API server's log has the cause under ${errorId}.`}
        </Alert.Description>
      </Alert.Content>
      {retry && (
        <Button size="xs" variant="outline" onClick={retry}>
          Try again
        </Button>
      )}
    </Alert.Root>
  );
}

/** Above an answer that could not be renewed. */
function Stale({ since, error }: { since: number; error: Error }) {
  const remedy = error instanceof ApiFailure ? error.remedy : "";
  return (
    <Alert.Root status="warning" size="sm" mb={3}>
      <Alert.Indicator />
      <Alert.Content>
        <Alert.Title fontWeight="normal">
          As of {moment(new Date(since).toISOString())}, not renewed since: {error.message}
        </Alert.Title>
        {remedy && <Alert.Description>{remedy}</Alert.Description>}
      </Alert.Content>
    </Alert.Root>
  );
}

/** Nothing here, and what would bring it. */
export function Empty({ children, hint }: { children: ReactNode; hint?: ReactNode }) {
  return (
    <Box py={1}>
      <Text fontSize="sm">
        {children}
      </Text>
      {hint && (
        <Text fontSize="sm" color="fg.muted">
          {hint}
        </Text>
      )}
    </Box>
  );
}

const NOT_PRESENT = { absent: "neutral", unreadable: "warning", failed: "error" } as const;

/** A part of an answer that may be absent, unreadable or failed: three different things to a reader. */
export function Present<T>({ part, children }: { part: Part<T>; children: (value: T) => ReactNode }) {
  if (part.state === "present") {
    return <>{children(part.value)}</>;
  }
  if (part.state === "absent") {
    return <Empty>{part.reason}</Empty>;
  }
  return (
    <Alert.Root status={NOT_PRESENT[part.state]} size="sm" my={2}>
      <Alert.Indicator />
      <Alert.Title fontWeight="normal" overflowWrap="anywhere">
        {part.state === "unreadable" ? "Cannot be read: " : "No answer: "}
        {part.reason}
      </Alert.Title>
    </Alert.Root>
  );
}
