/** A gate's report: its verdict, its reason, and every check. */

import { HStack, Text } from "@chakra-ui/react";

import type { Check, GateDetail } from "../api/types";
import { count, counted, percent } from "../format/number";
import { inline, rule } from "../format/text";
import { Grid, type Column } from "./grid";
import { Mark, Name, TaskLink, Time } from "./words";

const CHECKS: readonly Column<Check>[] = [
  {
    key: "passed", label: "", cell: (check) => <Mark of={check.passed ? "pass" : check.severity === "critical" ? "failed" : "warn"}>{check.passed ? "passed" : "failed"}</Mark>,
  },
  { key: "name", label: "Check", width: "14rem", cell: (check) => <Name>{check.name}</Name> },
  { key: "severity", label: "Severity", width: "5rem", cell: (check) => check.severity },
  { key: "observed", label: "Seen", width: "10rem", cell: (check) => <Clamped>{inline(check.observed)}</Clamped> },
  { key: "expected", label: "Expected", width: "10rem", cell: (check) => <Clamped>{rule(check.expected)}</Clamped> },
  { key: "rows", label: "Bad rows", figure: true, cell: (check) => count(check.unexpected_rows) },
];

/** Three lines; the whole is in the title. */
function Clamped({ children }: { children: string }) {
  return <Text as="span" lineClamp={3} title={children}>{children}</Text>;
}

export function Gate({ gate }: { gate: GateDetail }) {
  return (
    <>
      <HStack gap={3} fontSize="sm" mb={3} align="baseline" wrap="wrap">
        <Mark of={gate.verdict} />
        <Text flex="1 1 20rem" overflowWrap="anywhere">{gate.reason}</Text>
        <Text fontSize="xs" color="fg.muted">
          {`${counted(gate.checks_run, "check")}, ${count(gate.checks_failed)} failed; ${counted(gate.rows, "row")}`}
          {gate.quarantined > 0 && `, ${count(gate.quarantined)} set aside (${percent(gate.quarantined / Math.max(gate.rows, 1))})`}
        </Text>
        <Text fontSize="xs"><TaskLink task={gate.task} /></Text>
        <Text fontSize="xs" color="fg.muted"><Time at={gate.at} /></Text>
      </HStack>
      {gate.checks.length > 0 && (
        <Grid columns={CHECKS} rows={gate.checks} rowKey={(check, at) => `${check.name}${at}`} label="Checks" height="28rem" />
      )}
    </>
  );
}
