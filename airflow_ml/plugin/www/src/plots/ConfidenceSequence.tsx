/** A canary's effect with its always-valid interval over data days, against the bounds that decide. */

import { Text } from "@chakra-ui/react";
import { scaleLinear } from "d3-scale";
import { area as band, line } from "d3-shape";
import { useState } from "react";

import type { CanaryPlan, LookRow, StepKind } from "../api/types";
import { number, signed, weight } from "../format/number";
import { words } from "../format/text";
import { BottomAxis, clipped, extent, LeftAxis, OnPlot, type Area } from "./axes";
import { INK, Key, Plot } from "./frame";

const HEIGHT = 340;
const STRIP = 20;

export function ConfidenceSequence({ looks, plan }: { looks: readonly LookRow[]; plan: CanaryPlan }) {
  const [at, setAt] = useState<number | null>(null);
  const shown = at === null ? undefined : looks[at];
  const days = Math.max(...looks.map((look) => look.data_days), 0.1);
  const nearest = (x: number | null, width: number) => {
    if (x === null) {
      setAt(null);
      return;
    }
    const { left, right } = place(width);
    const day = (days * (x - left)) / (right - left);
    const gap = (look: LookRow) => Math.abs(look.data_days - day);
    setAt(looks.reduce((best, look, index) => (gap(look) < gap(looks[best] ?? look) ? index : best), 0));
  };
  const step = (by: number) => {
    const from = at ?? (by > 0 ? -1 : looks.length);
    setAt(Math.max(0, Math.min(looks.length - 1, from + by)));
  };
  const last = looks.findLast((look) => look.effect !== null);
  return (
    <Plot
      title={`${plan.metric}: challenger − champion`}
      about={
        last
          ? `Effect on ${plan.metric} after ${number(last.data_days, 3)} data days: ${signed(last.effect)}, interval ${signed(last.low)} to ${signed(last.high)}. Promoted beyond ${signed(plan.promote_bound)}, rolled back beyond ${signed(plan.roll_back_bound)}.`
          : "No effect could be estimated yet."
      }
      height={HEIGHT}
      sheet={{
        columns: ["number", "at", "data_days", "weight_percent", "action", "effect", "low", "high"],
        rows: looks.map((look) => [
          look.number, look.at, look.data_days, look.weight_percent, look.action, look.effect, look.low, look.high,
        ]),
      }}
      onPoint={nearest}
      onStep={step}
      aside={
        shown ? (
          <Text as="span" aria-live="polite" color="fg">
            {`Look ${number(shown.number)}, day ${number(shown.data_days, 3)}, ${stepName(shown)}: ${signed(shown.effect)} [${signed(shown.low)}, ${signed(shown.high)}], ${words(shown.action)}`}
          </Text>
        ) : (
          <>
            <Key colour={INK.line}>effect and always-valid interval</Key>
            {looks.some((look) => look.kind === "shadow") && <Key colour={INK.other}>in shadow, by pairs</Key>}
            {looks.some((look) => look.kind === "aa") && <Key colour={INK.quiet}>champion against itself</Key>}
            <Key colour={INK.good} dashed>promote</Key>
            {plan.promote_bound !== plan.roll_back_bound && <Key colour={INK.bad} dashed>roll back</Key>}
          </>
        )
      }
    >
      {(width) => <Drawing looks={looks} plan={plan} days={days} width={width} shown={shown} />}
    </Plot>
  );
}

/** What is measured in shadow, or of the champion against itself, is another quantity than what a split shows. */
const COLOUR: Record<string, string> = { shadow: INK.other, aa: INK.quiet };

/** Looks of one kind of step that follow each other: no line leads from one kind to another. */
function ofOneKind(looks: readonly LookRow[]): LookRow[][] {
  const found: LookRow[][] = [];
  for (const look of looks) {
    const spell = found.at(-1);
    if (spell?.[0]?.kind === look.kind) {
      spell.push(look);
    } else {
      found.push([look]);
    }
  }
  return found;
}

/** "25 %", "shadow", "A/A at 50 %". */
export function stepName({ weight_percent, kind }: { weight_percent: number; kind: StepKind }): string {
  return kind === "shadow" ? "shadow" : `${kind === "aa" ? "A/A at " : ""}${weight(weight_percent)}`;
}

function place(width: number): Area {
  return { left: 68, right: width - 12, top: STRIP + 14, bottom: HEIGHT - 40 };
}

interface DrawingProps {
  looks: readonly LookRow[];
  plan: CanaryPlan;
  days: number;
  width: number;
  shown: LookRow | undefined;
}

function Drawing({ looks, plan, days, width, shown }: DrawingProps) {
  const area = place(width);
  const known = looks.filter((look) => look.effect !== null && look.low !== null && look.high !== null);
  const spells = ofOneKind(known);
  // The first intervals are as wide as the sky; the scale is that of the later ones and of what decides.
  const settled = known.slice(Math.floor(known.length / 4));
  const widest = settled.flatMap((look) => [look.low, look.high]);
  const x = scaleLinear([0, days], [area.left, area.right]);
  const y = scaleLinear(extent([...widest, plan.promote_bound, plan.roll_back_bound, 0], 0.08), [area.bottom, area.top]);
  const proof = firstProof(looks, plan);
  const same = plan.roll_back_bound === plan.promote_bound;
  const better = plan.direction === "minimize" ? "below" : "above";
  return (
    <>
      <Steps looks={looks} days={days} x={x} area={area} />
      <LeftAxis scale={y} area={area} format={(value) => signed(value)} />
      <BottomAxis scale={x} area={area} label="data days since the challenger's first traffic" />
      <clipPath id="canary-plot">
        <rect x={area.left} y={area.top} width={Math.max(0, area.right - area.left)} height={area.bottom - area.top} />
      </clipPath>
      <g clipPath="url(#canary-plot)">
        {spells.map((spell, index) => {
          const colour = COLOUR[spell[0]?.kind ?? ""] ?? INK.line;
          return (
            <g key={index}>
              <path
                d={band<LookRow>((look) => x(look.data_days), (look) => y(look.low ?? 0), (look) => y(look.high ?? 0))(spell) ?? ""}
                fill={colour} fillOpacity={0.16}
              />
              {(["low", "high"] as const).map((edge) => (
                <path
                  key={edge} d={line<LookRow>((look) => x(look.data_days), (look) => y(look[edge] ?? 0))(spell) ?? ""}
                  fill="none" stroke={colour} strokeOpacity={0.6} strokeWidth={1}
                />
              ))}
              <path d={line<LookRow>((look) => x(look.data_days), (look) => y(look.effect ?? 0))(spell) ?? ""} fill="none" stroke={colour} strokeWidth={1.6} />
            </g>
          );
        })}
      </g>
      <line x1={area.left} x2={area.right} y1={y(0)} y2={y(0)} stroke={INK.text} strokeWidth={1} />
      <Bound area={area} y={y(plan.promote_bound)} colour={INK.good}>
        {same
          ? `promote: the whole interval ${better} ${signed(plan.promote_bound)}; roll back: beyond it`
          : `promote: the whole interval ${better} ${signed(plan.promote_bound)}`}
      </Bound>
      {!same && (
        <Bound area={area} y={y(plan.roll_back_bound)} colour={INK.bad}>
          {`roll back: beyond ${signed(plan.roll_back_bound)}`}
        </Bound>
      )}
      <OnPlot x={area.left + 8} y={area.top + 14}>{plan.direction === "minimize" ? "↑ challenger worse" : "↑ challenger better"}</OnPlot>
      <OnPlot x={area.left + 8} y={area.bottom - 8}>{plan.direction === "minimize" ? "↓ challenger better" : "↓ challenger worse"}</OnPlot>
      {proof && (
        <g>
          <line x1={x(proof.data_days)} x2={x(proof.data_days)} y1={area.top} y2={area.bottom} stroke={INK.good} strokeDasharray="2 3" />
          <OnPlot x={x(proof.data_days) - 5} y={area.bottom - 8} anchor="end" fill={INK.good}>shown better</OnPlot>
        </g>
      )}
      {shown && (
        <g stroke={INK.quiet}>
          <line x1={x(shown.data_days)} x2={x(shown.data_days)} y1={area.top} y2={area.bottom} strokeDasharray="2 3" />
          {shown.effect !== null && <circle cx={x(shown.data_days)} cy={y(shown.effect)} r={3.5} fill={INK.line} stroke={INK.panel} />}
        </g>
      )}
    </>
  );
}

/** The first look that showed the challenger better: intervals that hold all together need not do so again. */
export function firstProof(looks: readonly LookRow[], plan: CanaryPlan): LookRow | undefined {
  const bound = plan.promote_bound;
  return looks.find((look) =>
    look.kind !== "aa" && (plan.direction === "minimize" ? look.high !== null && look.high < bound : look.low !== null && look.low > bound),
  );
}

function Bound({ area, y, colour, children }: { area: Area; y: number; colour: string; children: string }) {
  return (
    <g>
      <line x1={area.left} x2={area.right} y1={y} y2={y} stroke={colour} strokeDasharray="6 4" strokeWidth={1.4} />
      <OnPlot x={area.left + 8} y={y - 5} fill={colour}>{children}</OnPlot>
    </g>
  );
}

/** A strip above the plot: each weight over the days that it had. */
function Steps({ looks, days, x, area }: { looks: readonly LookRow[]; days: number; x: (day: number) => number; area: Area }) {
  const parts: { from: number; to: number; percent: number; name: string }[] = [];
  for (const look of looks) {
    const part = parts.at(-1);
    const name = stepName(look);
    if (part?.name === name) {
      part.to = look.data_days;
    } else {
      if (part) {
        part.to = look.data_days;
      }
      parts.push({ from: look.data_days, to: days, percent: look.weight_percent, name });
    }
  }
  return (
    <g>
      <text x={area.left - 6} y={STRIP / 2 + 6} textAnchor="end" dominantBaseline="middle" fill={INK.quiet}>weight</text>
      {parts.map((part, index) => {
        const space = x(part.to) - x(part.from);
        return (
          <g key={index}>
            <rect
              x={x(part.from)} y={6} width={Math.max(space - 1, 0.5)} height={STRIP - 4} fill={INK.line}
              fillOpacity={0.12 + (0.5 * part.percent) / 100}
            />
            {space > 40 && (
              <text x={x(part.from) + space / 2} y={STRIP / 2 + 5} textAnchor="middle" dominantBaseline="middle">
                {clipped(part.name, space / 6)}
              </text>
            )}
          </g>
        );
      })}
    </g>
  );
}
