import { describe, expect, it } from "vitest";

import { csv, dataTime, inline, rule, sentence, short, shortDigest, words } from "./text";

describe("csv", () => {
  it("quotes what needs it and disarms formulas", () => {
    const text = csv(["a", 'b"c'], [["1,2", null], ["x\ny", true], ["=HYPERLINK()", -1.5], ["-1", "@a"]]);
    expect(text).toBe(
      'a,"b""c"\r\n"1,2",\r\n"x\ny",true\r\n\'=HYPERLINK(),-1.5\r\n\'-1,\'@a\r\n',
    );
  });
});

describe("words", () => {
  it("says names and values in short", () => {
    expect(words("roll_back")).toBe("roll back");
    expect(short("roll back", 6)).toBe("roll …");
    expect(short("roll back", 9)).toBe("roll back");
    expect(sentence("roll_back")).toBe("Roll back");
    expect(shortDigest(`sha256:${"ab".repeat(32)}`)).toBe("abababababab");
    expect(inline({ a: [1, null] })).toBe('{"a":[1,null]}');
    expect(inline({ test: "14d", most: 0.61 })).toBe("test: 14d; most: 0.61");
    expect(inline({ record: "Leaderboard", digest: `sha256:${"ab".repeat(32)}` })).toBe("Leaderboard abababababab");
    expect(inline({})).toBe("{}");
    expect(rule('{"value_set": ["EWR", "JFK"], "exact": false}')).toBe("value_set: EWR, JFK; exact: false");
    expect(rule('{"value_set": ["EWR", "J')).toBe('{"value_set": ["EWR", "J');
    expect(rule("at least 0.6")).toBe("at least 0.6");
    expect(dataTime("2013-01-01T10:15:00+00:00")).toBe("2013-01-01 10:15:00\u00a0Z");
    expect(dataTime("2013-01-01T10:15:00.250")).toBe("2013-01-01T10:15:00.250");
    expect(dataTime("T-shirt")).toBe("T-shirt");
    expect(inline(null)).toBe("–");
    expect(inline("x".repeat(300))).toHaveLength(201);
  });
});
