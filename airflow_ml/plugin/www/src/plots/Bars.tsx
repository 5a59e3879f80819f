/** Shares as bars, each with its name and figure. */

import { clipped } from "./axes";
import { INK, Plot } from "./frame";

interface Props {
  title: string;
  items: readonly { name: string; value: number }[];
  format: (value: number) => string;
}

const ROW = 24;

export function Bars({ title, items, format }: Props) {
  const most = Math.max(...items.map((item) => item.value), Number.MIN_VALUE);
  return (
    <Plot
      title={title}
      about={items.map((item) => `${item.name} ${format(item.value)}`).join(", ")}
      height={items.length * ROW + 4}
      sheet={{ columns: ["name", "value"], rows: items.map((item) => [item.name, item.value]) }}
    >
      {(width) => {
        const names = Math.min(170, width * 0.4);
        return items.map((item, index) => (
          <g key={item.name} transform={`translate(0 ${index * ROW + 4})`}>
            <text x={names - 8} y={ROW / 2 - 3} dy="0.32em" textAnchor="end">
              <title>{item.name}</title>
              {clipped(item.name, names / 6.4)}
            </text>
            <rect x={names} y={2} height={ROW - 10} width={Math.max(1, ((width - names - 60) * item.value) / most)} fill={INK.line} fillOpacity={0.75} />
            <text x={names + 6 + ((width - names - 60) * item.value) / most} y={ROW / 2 - 3} dy="0.32em" fill={INK.quiet}>
              {format(item.value)}
            </text>
          </g>
        ));
      }}
    </Plot>
  );
}
