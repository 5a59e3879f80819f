/** Axes and rules of a plot. */

import type { ReactNode } from "react";

import { number } from "../format/number";
import { INK } from "./frame";

export interface Area {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

interface Ticking {
  (value: number): number;
  ticks: (count: number) => number[];
}

interface Props {
  scale: Ticking;
  area: Area;
  label?: string;
  ticks?: number;
  format?: (value: number) => string;
}

/** Values along the left edge, with a rule for each. */
export function LeftAxis({ scale, area, label, ticks = 5, format = number }: Props) {
  return (
    <g>
      {scale.ticks(ticks).map((value) => (
        <g key={value}>
          <line x1={area.left} x2={area.right} y1={scale(value)} y2={scale(value)} stroke={INK.rule} />
          <text x={area.left - 6} y={scale(value)} dy="0.32em" textAnchor="end" fill={INK.quiet}>
            {format(value)}
          </text>
        </g>
      ))}
      {label && (
        <text
          transform={`translate(11 ${(area.top + area.bottom) / 2}) rotate(-90)`} textAnchor="middle" fill={INK.quiet}
        >
          {clipped(label, (area.bottom - area.top) / 6)}
        </text>
      )}
    </g>
  );
}

/** Values along the lower edge. */
export function BottomAxis({ scale, area, label, ticks = 8, format = number }: Props) {
  return (
    <g>
      <line x1={area.left} x2={area.right} y1={area.bottom} y2={area.bottom} stroke={INK.rule} />
      {scale.ticks(ticks).map((value) => (
        <text key={value} x={scale(value)} y={area.bottom + 15} textAnchor="middle" fill={INK.quiet}>
          {format(value)}
        </text>
      ))}
      {label && (
        <text x={(area.left + area.right) / 2} y={area.bottom + 31} textAnchor="middle" fill={INK.quiet}>
          {clipped(label, (area.right - area.left) / 6)}
        </text>
      )}
    </g>
  );
}

/** A text on the plot that stays readable over lines. */
export function OnPlot({
  x, y, anchor = "start", fill = INK.quiet, children,
}: { x: number; y: number; anchor?: "start" | "middle" | "end"; fill?: string; children: ReactNode }) {
  return (
    <text x={x} y={y} textAnchor={anchor} fill={fill} stroke={INK.panel} strokeWidth={3} paintOrder="stroke">
      {children}
    </text>
  );
}

/** A text of at most so many characters. */
export function clipped(text: string, characters: number): string {
  const most = Math.max(3, Math.floor(characters));
  const letters = Array.from(text);
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
}

/** The least and the greatest of the finite values, a little apart; around 0 where there is none. */
export function extent(values: Iterable<number | null | undefined>, margin = 0.05): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (typeof value === "number" && Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) {
    return [-1, 1];
  }
  const space = (high - low || Math.abs(high) || 1) * margin;
  return [low - space, high + space];
}
