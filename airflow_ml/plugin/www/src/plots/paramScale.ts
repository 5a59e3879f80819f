/** Where a parameter's value lies on an axis: by its distribution linear, logarithmic, or one place for each choice. */

import { scaleLinear, scaleLog, scalePoint } from "d3-scale";

import type { ParamSpec } from "../api/types";
import { number } from "../format/number";
import { inline } from "../format/text";
import { extent } from "./axes";

export type ParamValue = number | string | boolean | null;

export interface ParamScale {
  /** Pixels; undefined for a value that has no place, such as that of a parameter that a trial did not have. */
  place: (value: ParamValue) => number | undefined;
  ticks: { at: number; label: string }[];
}

export function paramScale(
  spec: ParamSpec, values: readonly ParamValue[], range: [number, number], most = 6,
): ParamScale {
  const numbers = values.filter((value): value is number => typeof value === "number" && Number.isFinite(value));
  if (spec.distribution === "choice" || (values.length > 0 && !numbers.length)) {
    return choices(spec, values, range, most);
  }
  const low = spec.low ?? Math.min(...numbers);
  const high = spec.high ?? Math.max(...numbers);
  const log = spec.distribution.startsWith("log") && low > 0;
  const domain = low < high ? [low, high] : extent([low]);
  const { inner, without } = room(spec, values, range);
  const scale = log ? scaleLog(domain, inner) : scaleLinear(domain, inner);
  const all = scale.ticks(most);
  // A logarithmic axis over a few decades has more ticks than asked for.
  const every = Math.ceil(all.length / (most + 1));
  const ticks = all.filter((_, index) => index % every === 0).map((value) => ({ at: scale(value), label: number(value, 3) }));
  return {
    place: (value) => (typeof value === "number" && Number.isFinite(value) ? scale(value) : value === null ? without : undefined),
    ticks: without === undefined ? ticks : [{ at: without, label: WITHOUT }, ...ticks],
  };
}

/** How the place is called where the trials are that did not have the parameter. */
export const WITHOUT = "without";
const WITHOUT_PIXELS = 22;

/** A parameter that only some trials have leaves a place before its least value for the others. */
function room(spec: ParamSpec, values: readonly ParamValue[], [start, end]: [number, number]) {
  if (!spec.when || !values.includes(null)) {
    return { inner: [start, end] as [number, number], without: undefined };
  }
  return { inner: [start + Math.sign(end - start) * WITHOUT_PIXELS, end] as [number, number], without: start };
}

function choices(
  spec: ParamSpec, values: readonly ParamValue[], range: [number, number], most: number,
): ParamScale {
  const known = spec.values.length ? spec.values : [...new Set(values)].filter((value) => value !== null || !spec.when);
  const names = [...new Set(known.map((value) => key(value as ParamValue)))];
  const { inner, without } = names.includes("null") ? { inner: range, without: undefined } : room(spec, values, range);
  const scale = scalePoint(names, inner).padding(0.3);
  const every = Math.ceil(names.length / Math.max(1, most));
  const ticks = names
    .filter((_, index) => index % every === 0)
    .map((name) => ({ at: scale(name) ?? 0, label: inline(JSON.parse(name) as ParamValue, 40) }));
  return {
    place: (value) => scale(key(value)) ?? (value === null ? without : undefined),
    ticks: without === undefined ? ticks : [{ at: without, label: WITHOUT }, ...ticks],
  };
}

/** 1, "1" and true are three choices. */
function key(value: ParamValue): string {
  return JSON.stringify(value);
}

/** The share of the others that each value is better than: 1 for the best, 0 for the worst. */
export function ranks(values: readonly number[], direction: "minimize" | "maximize"): number[] {
  const order = values.map((_, index) => index);
  const sign = direction === "minimize" ? 1 : -1;
  order.sort((a, b) => sign * ((values[b] ?? 0) - (values[a] ?? 0)));
  const found = new Array<number>(values.length).fill(1);
  order.forEach((index, position) => {
    found[index] = values.length > 1 ? position / (values.length - 1) : 1;
  });
  return found;
}
