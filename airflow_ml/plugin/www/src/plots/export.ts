/** A plot as a file: what is drawn as PNG, what it was drawn from as CSV. */

import { csv } from "../format/text";

export interface Sheet {
  columns: readonly string[];
  rows: readonly (readonly (string | number | boolean | null)[])[];
}

/** What a picture looks like outside of the page: without its style sheet and variables. */
const STYLES = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap",
  "stroke-linejoin", "opacity", "font-family", "font-size", "font-weight", "text-anchor", "dominant-baseline",
  "paint-order", "visibility",
] as const;

export function saveCsv(sheet: Sheet, name: string): void {
  save(new Blob([csv(sheet.columns, sheet.rows)], { type: "text/csv;charset=utf-8" }), `${fileName(name)}.csv`);
}

/** Draw an SVG of the page at twice its size, on the page's background, below its title. */
export async function savePng(svg: SVGSVGElement, title: string): Promise<void> {
  const { width, height } = svg.getBoundingClientRect();
  const head = 34;
  const page = getComputedStyle(document.body);
  const canvas = document.createElement("canvas");
  canvas.width = 2 * Math.ceil(width);
  canvas.height = 2 * Math.ceil(height + head);
  const context = canvas.getContext("2d");
  if (!context) {
    throw new Error("This browser has no canvas.");
  }
  context.scale(2, 2);
  context.fillStyle = page.backgroundColor;
  context.fillRect(0, 0, width, height + head);
  context.fillStyle = page.color;
  context.font = `600 14px ${page.fontFamily}`;
  context.fillText(title, 12, 22, width - 24);
  context.drawImage(await picture(svg, width, height), 0, head, width, height);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) {
    throw new Error("The picture could not be made.");
  }
  save(blob, `${fileName(title)}.png`);
}

async function picture(svg: SVGSVGElement, width: number, height: number): Promise<HTMLImageElement> {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const drawn = [svg, ...svg.querySelectorAll<SVGElement>("*")];
  [copy, ...copy.querySelectorAll<SVGElement>("*")].forEach((element, position) => {
    const source = drawn[position];
    if (source) {
      const styles = getComputedStyle(source);
      element.setAttribute("style", STYLES.map((name) => `${name}:${styles.getPropertyValue(name)}`).join(";"));
    }
  });
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  const text = new XMLSerializer().serializeToString(copy);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  return image;
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Letters, digits and dashes: a name that every system takes. */
export function fileName(title: string): string {
  return title.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 80) || "plot";
}
