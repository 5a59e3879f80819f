import { afterEach, describe, expect, it } from "vitest";

import { day, duration, moment, relative, zone } from "./time";

afterEach(() => localStorage.clear());

describe("the reader's zone", () => {
  it("is the one chosen in Airflow, else the browser's", () => {
    const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
    expect(zone()).toBe(own);
    localStorage.setItem("timezone", JSON.stringify("Asia/Kolkata"));
    expect(zone()).toBe("Asia/Kolkata");
    localStorage.setItem("timezone", "not JSON");
    expect(zone()).toBe(own);
    localStorage.setItem("timezone", JSON.stringify("Mars/Olympus"));
    expect(zone()).toBe(own);
  });
});

describe("times", () => {
  it("are written in a zone, by the second", () => {
    expect(moment("2026-11-23T23:33:09.892845Z", "Europe/Berlin")).toBe("2026-11-24 00:33:09");
    expect(moment("2026-07-01T00:00:00Z", "America/New_York")).toBe("2026-06-30 20:00:00");
    expect(day("2026-07-01T00:00:00Z", "America/New_York")).toBe("2026-06-30");
    expect(moment(null)).toBe("–");
    expect(moment("no time")).toBe("no time");
  });

  it.each([
    [0.0421, "42 ms"], [3.14159, "3.1 s"], [59.4, "59 s"], [60, "1 min 00 s"], [245.2, "4 min 05 s"],
    [3_840, "1 h 04 min"], [180_000, "2 d 2 h"], [null, "–"], [Number.NaN, "–"],
  ])("%s seconds last %s", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });

  it("are told roughly from now", () => {
    const now = Date.UTC(2026, 0, 1);
    expect(relative("2026-01-01T00:00:40Z", now)).toBe("in 40 s");
    expect(relative("2025-12-31T23:57:00Z", now)).toBe("3 min ago");
    expect(relative("2025-12-31T18:31:00Z", now)).toBe("5 h ago");
    expect(relative("2025-12-20T00:00:00Z", now)).toBe("12 d ago");
    expect(relative("2026-01-01T00:00:00.2Z", now)).toBe("now");
    expect(relative("no time", now)).toBe("no time");
  });
});
