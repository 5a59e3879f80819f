/** Several challengers side by side: what is shown of each, and which one goes on. */

import type { ArmRow, CanaryView, LookRow } from "../../api/types";
import { signed } from "../../format/number";
import { Grid, type Column } from "../../ui/grid";
import { Mark } from "../../ui/words";

interface Row {
  arm: string;
  version: string;
  stopped: string;
  chosen: boolean;
  seen: ArmRow | undefined;
}

const COLUMNS: readonly Column<Row>[] = [
  { key: "version", label: "Version", cell: (row) => row.version },
  { key: "state", label: "State", cell: (row) => <State row={row} /> },
  { key: "effect", label: "Effect", figure: true, cell: (row) => signed(row.seen?.effect) },
  {
    key: "interval", label: "Interval", figure: true,
    cell: (row) => (row.seen && row.seen.low !== null ? `${signed(row.seen.low)} to ${signed(row.seen.high)}` : "–"),
  },
  { key: "why", label: "Why", width: "12rem", cell: (row) => row.stopped || row.seen?.harm || "–" },
];

export function Challengers({ view }: { view: CanaryView }) {
  const last = view.looks.findLast((look) => look.arms.length > 0);
  const rows = view.challengers.map((one): Row => ({ ...one, seen: last?.arms.find((arm) => arm.arm === one.arm) }));
  return <Grid columns={COLUMNS} rows={rows} rowKey={(row) => row.arm} label="Challengers" />;
}

function State({ row: { chosen, stopped, seen } }: { row: Row }) {
  if (chosen) {
    return <Mark of="champion">chosen</Mark>;
  }
  if (stopped) {
    return <Mark of="lost">stopped</Mark>;
  }
  if (seen?.harm || seen?.worse) {
    return <Mark of="broken">shown worse</Mark>;
  }
  if (seen?.shown) {
    return <Mark of="pass">{seen.ready ? "shown" : "shown, guardrails open"}</Mark>;
  }
  return <Mark of="plain">not shown yet</Mark>;
}

/** The looks as one challenger's: its own effect and interval in place of those of the one that looks best. */
export function looksOf(looks: readonly LookRow[], arm: string): LookRow[] {
  return looks.map((look) => {
    const own = look.arms.find((one) => one.arm === arm);
    if (!own) {
      return look.arms.length ? { ...look, effect: null, low: null, high: null } : look;
    }
    const { effect, low, high, guardrails } = own;
    return { ...look, effect, low, high, guardrails };
  });
}
