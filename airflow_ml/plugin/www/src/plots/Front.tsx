/** Several objectives: every trial by two of them, and those that no other trial beats. */

import { NativeSelect, Text } from "@chakra-ui/react";
import { scaleLinear } from "d3-scale";
import { useMemo, useState } from "react";

import type { Objective, SweepChart } from "../api/types";
import { number } from "../format/number";
import { BottomAxis, extent, LeftAxis } from "./axes";
import { INK, Key, Plot } from "./frame";

const HEIGHT = 300;

interface Point {
  trial: string;
  group: string;
  x: number;
  y: number;
  front: boolean;
}

export function Front({ chart, open }: { chart: SweepChart; open: (trial: string) => void }) {
  const [first, ...others] = chart.objectives;
  const [at, setAt] = useState(0);
  const [walked, setWalked] = useState<number | null>(null);
  const other = others[at] ?? others[0];
  const points = useMemo(() => readPoints(chart, at), [chart, at]);
  const front = useMemo(() => points.filter((point) => point.front).sort((a, b) => a.x - b.x), [points]);
  if (!first || !other) {
    return null;
  }
  const shown = walked === null ? undefined : front[walked];
  const step = (by: number) => setWalked((now) => Math.max(0, Math.min(front.length - 1, (now ?? -1) + by)));
  return (
    <Plot
      title={`${other.metric} over ${first.metric}`}
      about={`${points.length} trials by ${first.metric} and ${other.metric}; ${front.length} of them no other trial of their group beats`}
      height={HEIGHT}
      sheet={{
        columns: ["trial", "group", first.metric, other.metric, "front"],
        rows: points.map((point) => [point.trial, point.group, point.x, point.y, point.front]),
      }}
      onStep={step}
      onPoint={(x) => x === null && setWalked(null)}
      aside={
        <>
          {others.length > 1 && (
            <NativeSelect.Root size="xs" width="auto">
              <NativeSelect.Field
                aria-label="Objective" value={String(at)}
                onChange={(event) => { setAt(Number(event.currentTarget.value)); setWalked(null); }}
              >
                {others.map((one, index) => <option key={one.metric} value={index}>{one.metric}</option>)}
              </NativeSelect.Field>
              <NativeSelect.Indicator />
            </NativeSelect.Root>
          )}
          <Key colour={INK.line}>no other beats it</Key>
          <Text as="span" aria-live="polite" color={shown ? "fg" : "fg.muted"}>
            {shown ? describe(shown, first, other) : "walk along the front with →"}
          </Text>
        </>
      }
    >
      {(width) => (
        <Drawing width={width} points={points} front={front} first={first} other={other} shown={shown} walk={(point) => setWalked(front.indexOf(point))} open={open} />
      )}
    </Plot>
  );
}

interface DrawingProps {
  width: number;
  points: readonly Point[];
  front: readonly Point[];
  first: Objective;
  other: Objective;
  shown: Point | undefined;
  walk: (point: Point) => void;
  open: (trial: string) => void;
}

function Drawing({ width, points, front, first, other, shown, walk, open }: DrawingProps) {
  const area = { left: 64, right: width - 12, top: 8, bottom: HEIGHT - 40 };
  const x = scaleLinear(extent(points.map((point) => point.x)), [area.left, area.right]);
  const y = scaleLinear(extent(points.map((point) => point.y)), [area.bottom, area.top]);
  return (
    <>
      <LeftAxis scale={y} area={area} label={better(other)} format={(value) => number(value, 3)} />
      <BottomAxis scale={x} area={area} label={better(first)} ticks={Math.max(3, Math.floor(width / 110))} format={(value) => number(value, 3)} />
      {points.filter((point) => !point.front).map((point) => (
        <circle key={point.trial} cx={x(point.x)} cy={y(point.y)} r={1.8} fill={INK.quiet} fillOpacity={0.35} />
      ))}
      {front.map((point) => (
        <circle
          key={point.trial} cx={x(point.x)} cy={y(point.y)} r={point === shown ? 5 : 3.4} fill={INK.line}
          stroke={point === shown ? INK.text : INK.panel} strokeWidth={1} style={{ cursor: "pointer" }}
          onPointerEnter={() => walk(point)} onClick={() => open(point.trial)}
        >
          <title>{describe(point, first, other)}</title>
        </circle>
      ))}
    </>
  );
}

function readPoints({ points }: SweepChart, at: number): Point[] {
  return points.value.flatMap((x, index) => {
    const y = points.also[at]?.[index];
    return typeof y === "number"
      ? [{ trial: points.trial[index] ?? "", group: points.group[index] ?? "", x, y, front: points.front[index] ?? false }]
      : [];
  });
}

function better({ metric, direction }: Objective): string {
  return `${metric} (${direction === "minimize" ? "less" : "more"} is better)`;
}

function describe(point: Point, first: Objective, other: Objective): string {
  return `${point.trial}${point.group ? `, ${point.group}` : ""}: ${first.metric} ${number(point.x)}, ${other.metric} ${number(point.y)}`;
}
