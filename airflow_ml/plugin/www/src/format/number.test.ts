import { describe, expect, it } from "vitest";

import { aligned, bytes, count, counted, number, percent, quantity, signed, weight } from "./number";

describe("number", () => {
  it.each([
    [0, "0"], [0.118342, "0.1183"], [12.3456, "12.35"], [1234.5, "1,235"], [20_000, "20,000"], [-0.00412, "−0.00412"],
    [0.000_012_345, "1.23e−5"], [12_345_678.9, "1.23e7"], [1e-300, "1e−300"], [2_000_000_000, "2e9"], [-3, "−3"],
    [Number.POSITIVE_INFINITY, "∞"], [Number.NEGATIVE_INFINITY, "−∞"], [Number.NaN, "not a number"], [null, "–"],
  ])("%s is %s", (value, text) => {
    expect(number(value)).toBe(text);
  });

  it("keeps what a reader can use at every size", () => {
    for (let power = -12; power < 12; power += 1) {
      const value = 1.234_567_89 * 10 ** power;
      const read = Number(number(value).replaceAll(",", "").replaceAll("−", "-"));
      expect(Math.abs(read - value) / value).toBeLessThan(0.01);
      expect(number(value).length).toBeLessThanOrEqual(11);
    }
  });
});

describe("a column of numbers", () => {
  it("has its points below each other", () => {
    const write = aligned([0.1183, 0.119, -0.1204, null, Number.NaN]);
    expect([0.1183, 0.119, -0.1204, null, Number.NaN].map(write)).toEqual(["0.1183", "0.1190", "−0.1204", "–", "not a number"]);
    expect(aligned([0.0206, 0.2424])(0.2424)).toBe("0.24240");
  });

  it.each([[[1, 20, 3_000]], [[0.0001, 10]], [[0.000_01, 0.000_02]], [[]], [[Number.POSITIVE_INFINITY]]])("%j are written one by one", (values) => {
    expect(values.map(aligned(values))).toEqual(values.map((value) => number(value)));
  });
});

describe("quantities", () => {
  it("says counts, shares, weights and sizes", () => {
    expect(count(1_234_567)).toBe("1,234,567");
    expect(counted(1, "row")).toBe("1 row");
    expect(counted(0, "row")).toBe("0 rows");
    expect(percent(0.6437)).toBe("64.4\u00a0%");
    expect(weight(25)).toBe("25\u00a0%");
    expect(bytes(1)).toBe("1 byte");
    expect(bytes(5_242_880)).toBe("5\u00a0MiB");
    expect(signed(0.0123)).toBe("+0.0123");
    expect(signed(-0.0123)).toBe("−0.0123");
    expect(signed(0)).toBe("0");
    expect(quantity(81_093, "rows")).toBe("81,093");
    expect(quantity("3", "")).toBe("3");
    expect(quantity(12.34, "seconds")).toBe("12.3\u00a0s");
  });
});
