/** The frame of a plot: its title, its size, and its files. */

import { Box, Button, Flex, HStack, Text } from "@chakra-ui/react";
import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent, type ReactNode } from "react";

import { SCROLLS } from "../ui/scrolls";
import { saveCsv, savePng, type Sheet } from "./export";

/** Colours of the page's theme, for light and dark. */
export const INK = {
  text: "var(--chakra-colors-fg)",
  quiet: "var(--chakra-colors-fg-muted)",
  rule: "var(--chakra-colors-border)",
  panel: "var(--chakra-colors-bg-panel)",
  line: "var(--ml-line)",
  good: "var(--ml-good)",
  bad: "var(--ml-bad)",
  warn: "var(--ml-warn)",
  other: "var(--ml-other)",
} as const;

/** The theme's own solid colours are the same in light and dark; thin lines need lighter ones on a dark ground. */
export const PALETTE = {
  "--ml-line": "var(--chakra-colors-blue-600)",
  "--ml-good": "var(--chakra-colors-green-600)",
  "--ml-bad": "var(--chakra-colors-red-600)",
  "--ml-warn": "var(--chakra-colors-orange-600)",
  "--ml-other": "var(--chakra-colors-purple-600)",
  _dark: {
    "--ml-line": "var(--chakra-colors-blue-400)",
    "--ml-good": "var(--chakra-colors-green-300)",
    "--ml-bad": "var(--chakra-colors-red-400)",
    "--ml-warn": "var(--chakra-colors-orange-400)",
    "--ml-other": "var(--chakra-colors-purple-400)",
  },
} as const;

interface Props {
  title: string;
  /** What the picture shows, for those who do not see it. */
  about: string;
  height: number;
  /** Pixels that it needs at least; a narrower page scrolls it. */
  least?: number;
  /** Drawn smaller, down to eight tenths, before it is scrolled. */
  shrinks?: boolean;
  /** The place in pixels that is in view where it must be scrolled. */
  centre?: number;
  sheet: Sheet;
  /** A picture, or a group of what takes the focus. */
  role?: "img" | "group";
  /** Beside the title: a legend, or the values under the pointer. */
  aside?: ReactNode;
  /** Drawn by its width in pixels. */
  children: (width: number) => ReactNode;
  /** Makes the plot walkable: told the position of the pointer in pixels, or a step by the arrow keys. */
  onPoint?: (x: number | null, width: number) => void;
  onStep?: (step: number) => void;
}

export function Plot({ title, about, height, least = 0, shrinks = false, centre, sheet, role = "img", aside, children, onPoint, onStep }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const svg = useRef<SVGSVGElement>(null);
  const room = useWidth(box);
  const width = room && Math.max(room, least);
  const scale = shrinks && width ? Math.max(0.8, Math.min(1, room / width)) : 1;
  useEffect(() => {
    if (box.current && centre !== undefined) {
      box.current.scrollLeft = scale * centre - room / 2;
    }
  }, [centre, room, scale]);
  const [problem, setProblem] = useState("");
  const png = () => {
    if (svg.current) {
      savePng(svg.current, title).then(() => setProblem(""), (error: unknown) => setProblem(String(error)));
    }
  };
  const move = (event: PointerEvent<SVGSVGElement>) => {
    onPoint?.(event.clientX - event.currentTarget.getBoundingClientRect().left, width);
  };
  const key = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (onStep && step !== undefined) {
      event.preventDefault();
      onStep(step);
    }
  };
  return (
    <Box as="figure" minW={0} css={PALETTE}>
      <Flex as="figcaption" justify="space-between" align="center" gap={3} minH="24px" mb={1} wrap="wrap">
        <Text fontSize="xs" fontWeight="medium" overflowWrap="anywhere">
          {title}
        </Text>
        <HStack gap={2} ms="auto" fontSize="xs" color="fg.muted" wrap="wrap">
          {aside}
          {problem && <Text role="alert" color="red.fg">{problem}</Text>}
          <HStack gap={0} className="plot-files">
            <Button size="2xs" variant="ghost" color="fg.muted" fontWeight="normal" onClick={png} aria-label={`${title}: save as PNG`}>
              PNG
            </Button>
            <Button size="2xs" variant="ghost" color="fg.muted" fontWeight="normal" onClick={() => saveCsv(sheet, title)} aria-label={`${title}: save as CSV`}>
              CSV
            </Button>
          </HStack>
        </HStack>
      </Flex>
      <Box ref={box} minH={`${scale * height}px`} minW={0} overflowX={least ? "auto" : "hidden"} overflowY="hidden" css={least ? SCROLLS : undefined}>
        {width > 0 && (
          <svg
            ref={svg} role={role} aria-label={about} width={scale * width} height={scale * height} viewBox={`0 0 ${width} ${height}`}
            tabIndex={onStep ? 0 : undefined} onKeyDown={key} onPointerMove={move}
            onPointerLeave={() => onPoint?.(null, width)}
            fill={INK.text} style={{ fontSize: "11px", fontVariantNumeric: "tabular-nums", display: "block" }}
          >
            {children(width)}
          </svg>
        )}
      </Box>
    </Box>
  );
}

function useWidth(box: React.RefObject<HTMLDivElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = box.current;
    if (!element) {
      return undefined;
    }
    const measure = () => setWidth(Math.floor(element.clientWidth));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [box]);
  return width;
}

/** One entry of a legend. */
export function Key({ colour, children, dashed = false }: { colour: string; children: ReactNode; dashed?: boolean }) {
  return (
    <HStack gap={1.5}>
      <svg width={14} height={8} aria-hidden>
        <line x1={0} x2={14} y1={4} y2={4} stroke={colour} strokeWidth={2} strokeDasharray={dashed ? "4 3" : undefined} />
      </svg>
      <span>{children}</span>
    </HStack>
  );
}
