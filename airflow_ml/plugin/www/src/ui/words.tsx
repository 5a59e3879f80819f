/** Small values in line: verdicts, times, digests, commands, addresses. */

import { Badge, Box, Button, Code, HStack, Link as ChakraLink, Text } from "@chakra-ui/react";
import { Fragment, useEffect, useState, type ReactNode } from "react";

import type { TaskRef } from "../api/types";
import { short, shortDigest, words } from "../format/text";
import { moment, relative, zone } from "../format/time";
import { safeUrl } from "../format/url";
import { airflowTask } from "../routes";
import { To } from "./layout";

const COLOUR: Record<string, string> = {
  pass: "green", promoted: "green", installed: "green", succeeded: "green", ok: "green", held: "green",
  no_drift: "green", hit: "green", champion: "green", front: "blue", balanced: "green",
  warn: "orange", drift: "orange", slow: "orange", late: "orange", needed: "orange", hold: "orange",
  inconclusive: "orange", timed_out: "orange", killed: "orange", lost: "orange", missed: "orange",
  block: "red", error: "red", failed: "red", rolled_back: "red", conflict: "red", broken: "red", critical: "red",
  parked: "orange", running: "blue", concluded: "blue", created: "blue", live: "blue", challenger: "blue", advance: "blue", promote: "green",
  roll_back: "red",
};

/** A state in one or two words; the colour repeats what the words say. */
export function Mark({ of, children }: { of: string; children?: ReactNode }) {
  return (
    <Badge colorPalette={COLOUR[of] ?? "gray"} variant="subtle" size="sm" whiteSpace="nowrap" fontWeight="medium">
      {typeof children === "object" ? children : short(words(String(children ?? of)), 48)}
    </Badge>
  );
}

/** A name of code, which wraps behind its dots, lines and brackets and not within its words. */
export function Name({ children }: { children: string }) {
  return children.split(/(?<=[._/(:-])(?=[^._/(:-])/).map((part, at) => (
    <Fragment key={at}>{at > 0 && <wbr />}{part}</Fragment>
  ));
}

/** A time in the reader's zone; UTC is in its title. */
export function Time({ at, ago = false, wraps = false }: { at: string | null | undefined; ago?: boolean; wraps?: boolean }) {
  const now = useNow(ago ? 10_000 : 0);
  if (!at) {
    return <>–</>;
  }
  const full = moment(at);
  return (
    <time dateTime={at} title={`${full} ${zone()}\n${at}`} style={{ whiteSpace: wraps ? "normal" : "nowrap", overflowWrap: "normal", ...FIGURES }}>
      {ago ? relative(at, now) : full}
    </time>
  );
}

/** Digits of equal width. */
export const FIGURES = { fontVariantNumeric: "tabular-nums" } as const;

/** The present, renewed every so many milliseconds; not at all for 0. */
export function useNow(every: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!every) {
      return undefined;
    }
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** A digest in short; the whole one is in its title and is what Copy takes. */
export function DigestText({ digest }: { digest: string }) {
  return digest ? (
    <HStack as="span" display="inline-flex" gap={1} verticalAlign="middle">
      <Code variant="plain" fontSize="xs" title={digest} color="fg.muted" px={0}>
        {shortDigest(digest)}
      </Code>
      <Copy text={digest} what="digest" quiet />
    </HStack>
  ) : (
    <>–</>
  );
}

/** A button that copies. */
export function Copy({ text, what, quiet = false }: { text: string; what: string; quiet?: boolean }) {
  const [done, setDone] = useState("");
  useEffect(() => {
    const timer = done ? setTimeout(() => setDone(""), 2_000) : undefined;
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () => {
    // Only pages over https or on localhost have a clipboard.
    const clipboard = navigator.clipboard as Clipboard | undefined;
    const written = clipboard ? clipboard.writeText(text) : Promise.reject(new Error("no clipboard"));
    written.then(() => setDone("Copied"), () => setDone("Select it by hand"));
  };
  return (
    <Button
      size="2xs"
      variant={quiet ? "ghost" : "outline"}
      onClick={copy}
      aria-label={`Copy ${what}`}
      color="fg.muted"
      fontWeight="normal"
      flexShrink={0}
    >
      <span aria-live="polite">{done || "Copy"}</span>
    </Button>
  );
}

/** A command to take home. */
export function Command({ text }: { text: string }) {
  return (
    <HStack gap={2} borderWidth="1px" borderRadius="sm" bg="bg.subtle" px={3} py={1.5} align="flex-start">
      <Box as="code" fontFamily="mono" fontSize="xs" flex={1} whiteSpace="pre-wrap" overflowWrap="anywhere" userSelect="all">
        {text}
      </Box>
      <Copy text={text} what="command" />
    </HStack>
  );
}

/** A link out of Airflow; plain text where the address is none that may be clicked. */
export function Out({ address, children }: { address: string | null | undefined; children: ReactNode }) {
  return safeUrl(address) ? (
    <ChakraLink href={safeUrl(address)} target="_blank" rel="noopener noreferrer" color="fg.info" fontSize="inherit">
      {children} ↗
    </ChakraLink>
  ) : (
    <Text as="span">{children}</Text>
  );
}

/** The task instance in Airflow. */
export function TaskLink({ task, children }: { task: TaskRef; children?: ReactNode }) {
  const name = task.map_index >= 0 ? `${task.task_id}[${task.map_index}]` : task.task_id;
  return <To to={airflowTask(task)}>{children ?? <><Name>{task.dag_id}</Name> · <Name>{name}</Name></>}</To>;
}

/** Who made something, and when. */
export function Made({ task, at }: { task: TaskRef; at: string | null }) {
  return (
    <>
      <TaskLink task={task} />
      <Text fontSize="xs" color="fg.muted"><Time at={at} /></Text>
    </>
  );
}
