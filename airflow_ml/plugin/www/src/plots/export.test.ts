import { describe, expect, it } from "vitest";

import { fileName } from "./export";

describe("fileName", () => {
  it("takes any title", () => {
    expect(fileName("brier: challenger − champion (λ/2)")).toBe("brier-challenger-champion-2");
    expect(fileName("../../etc/passwd")).toBe("etc-passwd");
    expect(fileName("航班")).toBe("plot");
    expect(fileName("x".repeat(250))).toHaveLength(80);
  });
});
