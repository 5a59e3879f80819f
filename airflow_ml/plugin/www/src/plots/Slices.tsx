/** The metric over one parameter: where the good trials lie. */

import { Box } from "@chakra-ui/react";
import { scaleLinear } from "d3-scale";

import type { SweepChart } from "../api/types";
import { number } from "../format/number";
import { clipped, extent, LeftAxis } from "./axes";
import { INK, Plot } from "./frame";
import { paramScale, ranks } from "./paramScale";

const HEIGHT = 190;

export function Slices({ chart }: { chart: SweepChart }) {
  const good = ranks(chart.points.value, chart.direction);
  return (
    <Box display="grid" gridTemplateColumns="repeat(auto-fill, minmax(min(100%, 20rem), 1fr))" gap={4}>
      {chart.params.map((param, at) => (
        <Slice key={param.name} chart={chart} at={at} good={good} />
      ))}
    </Box>
  );
}

function Slice({ chart, at, good }: { chart: SweepChart; at: number; good: readonly number[] }) {
  const { points, metric } = chart;
  const spec = chart.params[at];
  const values = points.params[at] ?? [];
  if (!spec) {
    return null;
  }
  return (
    <Plot
      title={spec.when ? `${spec.name}, where ${spec.when}` : spec.name}
      about={`${metric} over ${spec.name}, ${points.value.length} trials`}
      height={HEIGHT}
      sheet={{
        columns: ["trial", spec.name, metric],
        rows: points.value.map((value, index) => [points.trial[index] ?? "", values[index] ?? null, value]),
      }}
    >
      {(width) => {
        const area = { left: 52, right: width - 10, top: 6, bottom: HEIGHT - 22 };
        const x = paramScale(spec, values, [area.left + 6, area.right - 6], Math.max(3, Math.floor(width / 80)));
        const y = scaleLinear(extent(points.value), [area.bottom, area.top]);
        return (
          <>
            <LeftAxis scale={y} area={area} ticks={4} format={(value) => number(value, 3)} />
            <line x1={area.left} x2={area.right} y1={area.bottom} y2={area.bottom} stroke={INK.rule} />
            {x.ticks.map((tick) => (
              <text key={`${tick.at}${tick.label}`} x={tick.at} y={area.bottom + 15} textAnchor="middle" fill={INK.quiet}>
                {clipped(tick.label, 12)}
              </text>
            ))}
            {points.value.map((value, index) => {
              const across = x.place(values[index] ?? null);
              const best = (good[index] ?? 0) > 0.9;
              return (
                across !== undefined && (
                  <circle
                    key={index} cx={across} cy={y(value)} r={best ? 2.4 : 1.8} fill={best ? INK.line : INK.quiet}
                    fillOpacity={best ? 0.9 : 0.35}
                  />
                )
              );
            })}
          </>
        );
      }}
    </Plot>
  );
}
