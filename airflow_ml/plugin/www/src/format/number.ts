/** Numbers with as many digits as a reader can use. */

/** By decimals: to make one takes as long as to write a hundred numbers. */
const formats = new Map<number, Intl.NumberFormat>();

function format(decimals: number): Intl.NumberFormat {
  let found = formats.get(decimals);
  if (!found) {
    found = new Intl.NumberFormat("en", { maximumFractionDigits: decimals });
    formats.set(decimals, found);
  }
  return found;
}

const MINUS = "\u2212";
/** Between a number and its unit, which stay on one line. */
const SPACE = "\u00a0";

/** A metric or parameter: four significant digits; very large and very small ones as powers of ten. */
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined) {
    return "–";
  }
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : `${MINUS}∞`;
  }
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) {
    return format(0).format(value).replace("-", MINUS);
  }
  if (size >= 1e6 || size < 1e-4) {
    const [mantissa = "", exponent = "0"] = value.toExponential(Math.max(0, digits - 2)).split("e");
    const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
    return `${short}e${String(Number(exponent))}`.replaceAll("-", MINUS);
  }
  const decimals = Math.max(0, Math.min(8, digits - 1 - Math.floor(Math.log10(size))));
  return format(decimals).format(value).replace("-", MINUS);
}

/**
 * How to write the numbers of a column so that their points stand below each other: with the digits that its smallest one
 * needs. Columns of whole numbers, and those that span powers of ten, are written one by one.
 */
export function aligned(values: readonly (number | null | undefined)[], digits = 4): (value: number | null | undefined) => string {
  const sizes = values.filter((value) => typeof value === "number" && Number.isFinite(value) && value !== 0).map((value) => Math.abs(value as number));
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  if (!sizes.length || sizes.every(Number.isInteger) || least < 1e-4 || most >= 1e6 || most / least >= 100) {
    return (value) => number(value, digits);
  }
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(least)));
  const fixed = new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return (value) =>
    typeof value === "number" && Number.isFinite(value) ? fixed.format(value).replace("-", MINUS) : number(value, digits);
}

/** A difference: with its sign. */
export function signed(value: number | null | undefined, digits = 3): string {
  const text = number(value, digits);
  return value !== null && value !== undefined && value > 0 ? `+${text}` : text;
}

/** A count: all digits, in groups of three. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : format(0).format(value).replace("-", MINUS);
}

/** "1 row", "2 rows", "1,204 rows". */
export function counted(value: number, noun: string, plural = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

/** A share of 0 to 1 as a percentage. */
export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? "–" : `${number(100 * share, 3)}${SPACE}%`;
}

/** A weight of 0 to 100. */
export function weight(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${number(value, 3)}${SPACE}%`;
}

export function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return unit === 0 ? counted(value, "byte") : `${number(size, 3)}${SPACE}${units[unit] ?? ""}`;
}

/** A labelled quantity with its unit. */
export function quantity(value: number | string, unit: string): string {
  if (typeof value === "string") {
    return value;
  }
  switch (unit) {
    case "bytes":
      return bytes(value);
    case "percent":
      return weight(value);
    case "seconds":
      return `${number(value, 3)}${SPACE}s`;
    default:
      return number(value);
  }
}
