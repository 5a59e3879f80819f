import { describe, expect, it } from "vitest";

import { safeUrl } from "./url";

describe("safeUrl", () => {
  it.each([
    "https://mlflow.example.com/#/models/flight_delays", "http://127.0.0.1:5000/", "https://[::1]:8443/a?b=c&d=%20#e",
    "HTTPS://XN--MNCHEN-3YA.example/",
  ])("takes %s as it is", (address) => {
    expect(safeUrl(address)).toBe(address);
  });

  it.each([
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", " https://example.com", "https://exa mple.com",
    "data:text/html,<script>alert(1)</script>", "vbscript:x", "blob:https://example.com/1", "file:///etc/passwd",
    "//example.com", "/dags", "https:example.com", "https://", "https://user:pass@example.com", "https://user@example.com",
    "https://exämple.com", "https://example.com\\@evil.example", "https://example.com/\u202e", "https://[::1", "", null,
    undefined,
  ])("refuses %s", (address) => {
    expect(safeUrl(address)).toBeUndefined();
  });
});
