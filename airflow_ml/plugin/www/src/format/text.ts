/** Words for what the records say in short. */

import type { Json } from "../api/types";

/** "sha256:0123456789ab…" as "0123456789ab". */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, "").slice(0, 12);
}

/** A value of a parameter or setting in one line. */
export function inline(value: Json | undefined, limit = 200): string {
  if (value === undefined || value === null) {
    return "–";
  }
  const text = typeof value === "string" ? value : (flat(value) ?? JSON.stringify(value));
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

/** A rule of a gate: what its library wrote as JSON is read, other words stay. */
export function rule(expected: string): string {
  if (!expected.startsWith("{")) {
    return expected || "–";
  }
  try {
    return inline(JSON.parse(expected) as Json, 300);
  } catch {
    return expected; // a long one was cut
  }
}

/** A time of the data, in the zone in which it is kept: without the letters between its parts. */
export function dataTime(text: string): string {
  return text.replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d(?::\d\d)?)(?:\.0+)?(?:\+00:00|(Z))?$/, (whole, day: string, time: string) =>
    `${day} ${time}${/Z|\+00:00$/.test(whole) ? "\u00a0Z" : ""}`,
  );
}

/** A record's name and digest, or what a mapping of plain values says; undefined for what has parts of its own. */
function flat(value: Json): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return undefined;
  }
  const { record, digest, ...others } = value;
  if (typeof record === "string" && typeof digest === "string" && !Object.keys(others).length) {
    return `${record} ${shortDigest(digest)}`;
  }
  const entries = Object.entries(value).map(([name, one]) => {
    const said = (Array.isArray(one) ? one : [one]).map((item) => (typeof item === "object" ? undefined : String(item)));
    return said.includes(undefined) ? undefined : `${name}: ${said.join(", ")}`;
  });
  return entries.length && !entries.includes(undefined) ? entries.join("; ") : undefined;
}

/** A text of so many characters at most, the last one a sign for what is missing. */
export function short(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** "roll_back" as "roll back". */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

/** "roll_back" as "Roll back". */
export function sentence(name: string): string {
  const text = words(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** CSV of RFC 4180; a text that a spreadsheet would run as a formula begins with an apostrophe. */
export function csv(columns: readonly string[], rows: readonly (readonly (string | number | boolean | null)[])[]): string {
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value: string | number | boolean | null): string {
  if (typeof value !== "string") {
    return value === null ? "" : String(value);
  }
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
