/** Parallel coordinates: one line for each trial, the better the stronger. */

import { Text } from "@chakra-ui/react";
import { scaleLinear } from "d3-scale";
import { useMemo, useState } from "react";

import type { SweepChart } from "../api/types";
import { number } from "../format/number";
import { inline } from "../format/text";
import { clipped, extent } from "./axes";
import { INK, Plot } from "./frame";
import { paramScale, ranks } from "./paramScale";

const HEIGHT = 300;

export function Parallel({ chart }: { chart: SweepChart }) {
  const { points, params, metric, direction } = chart;
  const [walked, setWalked] = useState<number | null>(null);
  const good = useMemo(() => ranks(points.value, direction), [points.value, direction]);
  const order = useMemo(
    () => points.value.map((_, index) => index).sort((a, b) => (good[a] ?? 0) - (good[b] ?? 0)),
    [points.value, good],
  );
  const best = order.at(-1);
  const shown = walked === null ? undefined : order.at(-1 - walked);
  const step = (by: number) => setWalked((at) => Math.max(0, Math.min(order.length - 1, (at ?? -1) + by)));
  return (
    <Plot
      title={`Parameters and ${metric}`}
      about={`Parallel coordinates of ${points.value.length} trials; the best is ${best === undefined ? "none" : describe(chart, best)}`}
      height={HEIGHT}
      sheet={{
        columns: ["trial", "group", ...params.map((param) => param.name), metric],
        rows: points.value.map((value, index) => [
          points.trial[index] ?? "", points.group[index] ?? "", ...params.map((_, at) => points.params[at]?.[index] ?? null), value,
        ]),
      }}
      onStep={step}
      aside={
        <Text as="span" aria-live="polite" color={shown === undefined ? "fg.muted" : "fg"} maxW="60rem" overflowWrap="anywhere">
          {shown === undefined ? "strong lines are the best trials; point at one, or walk from the best with → " : describe(chart, shown)}
        </Text>
      }
    >
      {(width) => (
        <Drawing
          chart={chart} width={width} order={order} good={good} shown={shown}
          point={(index) => setWalked(index === null ? null : order.length - 1 - order.indexOf(index))}
        />
      )}
    </Plot>
  );
}

interface DrawingProps {
  chart: SweepChart;
  width: number;
  order: readonly number[];
  good: readonly number[];
  shown: number | undefined;
  point: (index: number | null) => void;
}

function Drawing({ chart, width, order, good, shown, point }: DrawingProps) {
  const { points, params, metric, direction } = chart;
  const [top, bottom] = [30, HEIGHT - 14];
  const [low, high] = extent(points.value, 0);
  // The better end of the metric is up, whichever direction that is.
  const value = scaleLinear(direction === "minimize" ? [high, low] : [low, high], [bottom, top]);
  const names = [...params.map((param) => param.name), metric];
  const x = (axis: number) => 70 + (axis * (width - 130)) / Math.max(1, names.length - 1);
  const axes = [
    ...params.map((param, at) => paramScale(param, points.params[at] ?? [], [bottom, top], 5)),
    {
      place: (one: unknown) => (typeof one === "number" ? value(one) : undefined),
      ticks: value.ticks(5).map((tick) => ({ at: value(tick), label: number(tick, 3) })),
    },
  ];
  const path = (index: number) => {
    let text = "";
    let broken = true;
    axes.forEach((axis, at) => {
      const y = axis.place(at < params.length ? (points.params[at]?.[index] ?? null) : (points.value[index] ?? null));
      // A value that has no place leaves a gap.
      text += y === undefined ? "" : `${broken ? "M" : "L"}${x(at).toFixed(1)},${y.toFixed(1)}`;
      broken = y === undefined;
    });
    return text;
  };
  return (
    <>
      <g fill="none">
        {order.map((index) => (
          <path
            key={index} d={path(index)} stroke={(good[index] ?? 0) > 0.9 ? INK.line : INK.quiet}
            strokeWidth={(good[index] ?? 0) > 0.9 ? 1.2 : 0.8} strokeOpacity={0.06 + 0.7 * (good[index] ?? 0) ** 6}
            onPointerEnter={() => point(index)} onPointerLeave={() => point(null)}
          />
        ))}
        {shown !== undefined && <path d={path(shown)} stroke={INK.warn} strokeWidth={2.4} pointerEvents="none" />}
      </g>
      {axes.map((axis, at) => (
        <g key={at}>
          <line x1={x(at)} x2={x(at)} y1={top} y2={bottom} stroke={INK.quiet} />
          <text x={x(at)} y={14} textAnchor="middle" fontWeight={at === params.length ? 600 : 400}>
            <title>{names[at]}</title>
            {clipped(names[at] ?? "", Math.max(8, (width / names.length - 10) / 6))}
          </text>
          {axis.ticks.map((tick) => (
            <text
              key={`${tick.at}${tick.label}`} x={x(at) + (at === params.length ? 5 : -5)} y={tick.at} dy="0.32em"
              textAnchor={at === params.length ? "start" : "end"}
              fill={INK.quiet} stroke={INK.panel} strokeWidth={3} paintOrder="stroke"
            >
              {clipped(tick.label, 11)}
            </text>
          ))}
        </g>
      ))}
    </>
  );
}

function describe({ points, params, metric }: SweepChart, index: number): string {
  const said = params.map((param, at) => {
    const value = points.params[at]?.[index] ?? null;
    return `${param.name} ${typeof value === "number" ? number(value) : inline(value, 40)}`;
  });
  return `${points.trial[index] ?? ""}: ${metric} ${number(points.value[index])}; ${said.join(", ")}`;
}
