/** Drift of columns over time: each report's value over its threshold, one row for each column. */

import type { DatasetView } from "../api/types";
import { number } from "../format/number";
import { day, moment } from "../format/time";
import { clipped } from "./axes";
import { INK, Key, Plot } from "./frame";

const ROW = 20;
const NAMES = 190;

export function Drift({ reports }: { reports: DatasetView["drift"] }) {
  const columns = [...new Set(reports.flatMap((report) => report.columns.map((column) => column.name)))];
  const worst = new Map(
    columns.map((name) => [name, Math.max(...reports.flatMap((report) => report.columns.filter((column) => column.name === name).map(excess)))]),
  );
  columns.sort((a, b) => (worst.get(b) ?? 0) - (worst.get(a) ?? 0));
  const times = reports.map((report) => Date.parse(report.at));
  const close = Math.max(...times) - Math.min(...times) < 172_800_000;
  const height = columns.length * ROW + 26;
  const drifted = reports.flatMap((report) => report.columns.filter((column) => column.drifted)).length;
  return (
    <Plot
      title="Value over threshold by column"
      about={`${reports.length} reports of ${columns.length} columns; ${drifted} values exceed their threshold`}
      height={height}
      sheet={{
        columns: ["at", "model", "version", "column", "statistic", "value", "threshold", "drifted"],
        rows: reports.flatMap((report) =>
          report.columns.map((one) => [report.at, report.model, report.version, one.name, one.statistic, one.value, one.threshold, one.drifted]),
        ),
      }}
      aside={<><Key colour={INK.line}>below its threshold</Key><Key colour={INK.warn}>drifted</Key></>}
    >
      {(width) => {
        const cell = Math.min(46, (width - NAMES - 8) / Math.max(1, reports.length));
        const every = Math.ceil(76 / cell);
        return (
          <>
            {columns.map((name, row) => (
              <text key={name} x={NAMES - 8} y={row * ROW + ROW / 2} dy="0.32em" textAnchor="end">
                <title>{name}</title>
                {clipped(name, NAMES / 6.4)}
              </text>
            ))}
            {reports.map((report, at) => (
              <g key={`${report.at}${at}`} transform={`translate(${NAMES + at * cell} 0)`}>
                {report.columns.map((one) => (
                  <rect
                    key={`${one.name}${one.statistic}`} y={columns.indexOf(one.name) * ROW + 2} width={Math.max(1, cell - 2)} height={ROW - 4} rx={2}
                    fill={one.drifted ? INK.warn : INK.line} fillOpacity={one.drifted ? Math.min(1, 0.35 + 0.25 * excess(one)) : 0.06 + 0.4 * excess(one)}
                  >
                    <title>{`${one.name}: ${one.statistic} ${number(one.value, 3)}, threshold ${number(one.threshold, 3)}\n${report.model} ${report.version}, ${day(report.at)}`}</title>
                  </rect>
                ))}
                {at % every === 0 && <text y={height - 6} fill={INK.quiet}>{close ? moment(report.at).slice(5, 16) : day(report.at)}</text>}
              </g>
            ))}
          </>
        );
      }}
    </Plot>
  );
}

function excess(column: { value: number; threshold: number }): number {
  return column.threshold > 0 ? column.value / column.threshold : 0;
}
