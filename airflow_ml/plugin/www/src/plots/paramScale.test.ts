import { describe, expect, it } from "vitest";

import type { ParamSpec } from "../api/types";
import { paramScale, ranks } from "./paramScale";

const spec = (part: Partial<ParamSpec>): ParamSpec => ({
  name: "p", distribution: "uniform", low: null, high: null, values: [], when: "", ...part,
});

describe("paramScale", () => {
  it("is logarithmic where the search was", () => {
    const scale = paramScale(spec({ distribution: "log_uniform", low: 0.01, high: 1 }), [0.1], [0, 100]);
    expect(scale.place(0.1)).toBeCloseTo(50);
    expect(scale.place("0.1")).toBeUndefined();
    expect(scale.place(null)).toBeUndefined();
    expect(scale.ticks.length).toBeLessThanOrEqual(8);
  });

  it("is linear otherwise, and wide enough for one value", () => {
    expect(paramScale(spec({ low: 0, high: 10 }), [5], [0, 100]).place(5)).toBeCloseTo(50);
    expect(paramScale(spec({ low: 3, high: 3 }), [3], [0, 100]).place(3)).toBeCloseTo(50);
    expect(paramScale(spec({}), [1, 2], [0, 100]).place(2)).toBeCloseTo(100);
  });

  it("gives each choice its place, by value and type", () => {
    const scale = paramScale(spec({ distribution: "choice", values: [1, "1", true, null, "<b>"] }), [], [0, 100]);
    const places = [1, "1", true, null, "<b>"].map((value) => scale.place(value));
    expect(new Set(places).size).toBe(5);
    expect(places.every((place) => typeof place === "number")).toBe(true);
    expect(scale.ticks.map((tick) => tick.label)).toContain("<b>");
    expect(scale.place("other")).toBeUndefined();
  });

  it("has a place for trials without a parameter that only some have", () => {
    const some = spec({ low: 0, high: 10, when: 'booster is "dart"' });
    const scale = paramScale(some, [5, null], [200, 0]);
    expect(scale.place(null)).toBe(200);
    expect(scale.place(0)).toBeCloseTo(178);
    expect(scale.ticks[0]).toEqual({ at: 200, label: "without" });
    expect(paramScale(some, [5], [0, 100]).place(null)).toBeUndefined();
    const choice = paramScale({ ...some, distribution: "choice", values: ["a", "b"] }, ["a", null], [0, 100]);
    expect(choice.place(null)).toBe(0);
    expect(choice.place("a")).toBeGreaterThan(20);
  });

  it("takes thousands of choices with a few ticks", () => {
    const values = Array.from({ length: 2_000 }, (_, index) => `c${index}`);
    expect(paramScale(spec({ distribution: "choice", values }), values, [0, 100]).ticks.length).toBeLessThanOrEqual(6);
  });
});

describe("ranks", () => {
  it("puts the best at 1", () => {
    expect(ranks([3, 1, 2], "minimize")).toEqual([0, 1, 0.5]);
    expect(ranks([3, 1, 2], "maximize")).toEqual([1, 0, 0.5]);
    expect(ranks([7], "minimize")).toEqual([1]);
    expect(ranks([], "minimize")).toEqual([]);
  });
});
