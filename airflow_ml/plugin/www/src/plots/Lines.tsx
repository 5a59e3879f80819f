/** A few series over numbers. */

import { scaleLinear, scaleUtc } from "d3-scale";
import { curveStepAfter, line } from "d3-shape";

import { number } from "../format/number";
import { BottomAxis, extent, LeftAxis, OnPlot } from "./axes";
import { INK, Key, Plot } from "./frame";

const COLOURS = [INK.line, INK.warn, INK.other, INK.good, INK.bad] as const;

interface Props {
  title: string;
  height: number;
  x: { label: string; values: readonly number[]; format?: (value: number) => string; whole?: boolean; time?: boolean };
  series: readonly { name: string; values: readonly (number | null)[] }[];
  rules?: readonly { at: number; label: string }[];
  /** Values hold until the next one. */
  steps?: boolean;
  dots?: boolean;
  /** The axis begins at 0. */
  zero?: boolean;
  format?: (value: number) => string;
}

export function Lines({ title, height, x, series, rules = [], steps = false, dots = false, zero = false, format = number }: Props) {
  const all = series.flatMap((one) => one.values);
  const range = extent([...all, ...rules.map((rule) => rule.at)], 0.1);
  if (zero) {
    range[0] = 0;
  }
  const last = series.map((one) => `${one.name} ${number(one.values.at(-1))}`).join(", ");
  return (
    <Plot
      title={title}
      about={`${title} over ${x.label}; last: ${last}`}
      height={height}
      sheet={{
        columns: [x.label, ...series.map((one) => one.name)],
        rows: x.values.map((value, index) => [value, ...series.map((one) => one.values[index] ?? null)]),
      }}
      aside={
        series.length > 1 &&
        series.map((one, index) => <Key key={one.name} colour={COLOURS[index % 5] ?? INK.line}>{one.name}</Key>)
      }
    >
      {(width) => {
        const area = { left: 56, right: width - 10, top: 8, bottom: height - 36 };
        const across = positions(x.values, x.time ?? false, [area.left + 4, area.right - 4]);
        const up = scaleLinear(range, [area.bottom, area.top]);
        return (
          <>
            <LeftAxis scale={up} area={area} format={format} ticks={Math.max(2, Math.floor(height / 50))} />
            <BottomAxis
              scale={across} area={area} label={x.label} ticks={ticksOf(x.whole ?? false, x.values, width)}
              {...(x.format && { format: x.format })}
            />
            {rules.map((rule) => (
              <g key={rule.label}>
                <line x1={area.left} x2={area.right} y1={up(rule.at)} y2={up(rule.at)} stroke={INK.bad} strokeDasharray="6 4" />
                <OnPlot x={area.right - 2} y={up(rule.at) + 12} anchor="end" fill={INK.bad}>{rule.label}</OnPlot>
              </g>
            ))}
            {series.map((one, index) => {
              const colour = COLOURS[index % 5] ?? INK.line;
              const points = one.values
                .map((value, at) => [x.values[at] ?? 0, value] as const)
                .filter((point): point is readonly [number, number] => Number.isFinite(point[0]) && Number.isFinite(point[1]));
              const draw = line<readonly [number, number]>((point) => across(point[0]), (point) => up(point[1]));
              return (
                <g key={one.name}>
                  <path d={(steps ? draw.curve(curveStepAfter) : draw)(points) ?? ""} fill="none" stroke={colour} strokeWidth={1.5} />
                  {(dots || points.length === 1) &&
                    points.map((point, at) => <circle key={at} cx={across(point[0])} cy={up(point[1])} r={2.5} fill={colour} />)}
                </g>
              );
            })}
          </>
        );
      }}
    </Plot>
  );
}

/** Whole numbers get no ticks between them. */
function ticksOf(whole: boolean, values: readonly number[], width: number): number {
  const room = Math.max(2, Math.min(8, Math.floor(width / 80)));
  return whole ? Math.max(1, Math.min(room, Math.max(...values) - Math.min(...values))) : room;
}

/** Times have ticks at days and months, numbers at round numbers. */
function positions(values: readonly number[], time: boolean, range: [number, number]) {
  const domain = extent(values, 0);
  if (!time) {
    return scaleLinear(domain, range);
  }
  const scale = scaleUtc(domain, range);
  return Object.assign((value: number) => scale(value), {
    // It may have twice as many as asked for, and a day is a longer word than a number.
    ticks: (most: number) => {
      const all = scale.ticks(most).map((at) => at.getTime());
      const every = Math.ceil(all.length / Math.max(2, 0.7 * most));
      return all.filter((_, at) => at % every === 0);
    },
  });
}
