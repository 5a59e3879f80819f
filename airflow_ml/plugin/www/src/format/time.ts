/** Times in the reader's zone, durations in words. */

/** One of each zone: to make one takes as long as to write a hundred times. */
const formats = new Map<string, Intl.DateTimeFormat>();

function format(timeZone: string): Intl.DateTimeFormat {
  let found = formats.get(timeZone);
  if (!found) {
    // Swedish writes ISO dates.
    found = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "medium" });
    formats.set(timeZone, found);
  }
  return found;
}

let own: string | undefined;

/** The zone chosen in Airflow's user menu, else the browser's. */
export function zone(): string {
  try {
    const chosen: unknown = JSON.parse(localStorage.getItem("timezone") ?? "null");
    if (typeof chosen === "string" && chosen) {
      format(chosen);
      return chosen;
    }
  } catch {
    // storage is closed, holds something else, or names a zone that this browser does not know
  }
  own ??= Intl.DateTimeFormat().resolvedOptions().timeZone;
  return own;
}

/** "2026-11-23 15:33:09" in a zone; "–" for nothing, the text itself where it is no time. */
export function moment(utc: string | null | undefined, timeZone = zone()): string {
  if (!utc) {
    return "–";
  }
  const at = new Date(utc);
  if (Number.isNaN(at.getTime())) {
    return utc;
  }
  return format(timeZone).format(at);
}

/** "2026-11-23" in a zone. */
export function day(utc: string, timeZone = zone()): string {
  return moment(utc, timeZone).slice(0, 10);
}

/** "850 ms", "12.3 s", "4 min 05 s", "1 h 04 min", "3 d 2 h". */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) {
    return "–";
  }
  if (seconds < 0) {
    return `\u2212${duration(-seconds)}`;
  }
  if (seconds < 1) {
    return `${Math.round(seconds * 1000)} ms`;
  }
  if (seconds < 59.95) {
    return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  }
  const whole = Math.round(seconds);
  const [days, hours] = [Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3_600)];
  const [minutes, rest] = [Math.floor((whole % 3_600) / 60), whole % 60];
  if (days) {
    return `${days} d ${hours} h`;
  }
  if (hours) {
    return `${hours} h ${two(minutes)} min`;
  }
  return `${minutes} min ${two(rest)} s`;
}

/** "in 40 s", "3 min ago", "2 d ago": roughly, the time itself stands beside or in the title. */
export function relative(utc: string, now: number): string {
  const seconds = (new Date(utc).getTime() - now) / 1000;
  if (Number.isNaN(seconds)) {
    return utc;
  }
  const size = Math.round(Math.abs(seconds));
  if (size < 1) {
    return "now";
  }
  const rough =
    size < 60
      ? `${size} s`
      : size < 3_600
        ? `${Math.round(size / 60)} min`
        : size < 172_800
          ? `${Math.round(size / 3_600)} h`
          : `${Math.round(size / 86_400)} d`;
  return seconds > 0 ? `in ${rough}` : `${rough} ago`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
