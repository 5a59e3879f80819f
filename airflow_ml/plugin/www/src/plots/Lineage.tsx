/** What a version was made from and what was made from it, as a graph from left to right. */

import dagre from "@dagrejs/dagre";
import { HStack, Text } from "@chakra-ui/react";
import { useMemo, useState, type KeyboardEvent } from "react";

import type { LineageGraph } from "../api/types";
import { count, counted } from "../format/number";
import { shortDigest } from "../format/text";
import { DigestText, TaskLink, Time } from "../ui/words";
import { clipped } from "./axes";
import { INK, Plot } from "./frame";

const WIDE = 138;
const HIGH = 44;

type Node = LineageGraph["nodes"][number];

/** What is not in the picture, and why. */
function Rest({ graph }: { graph: LineageGraph }) {
  const said = [
    graph.runs_read < graph.runs && `${count(graph.runs_read)} of ${counted(graph.runs, "run")} searched, the others are being read.`,
    graph.runs_left > 0 && `${counted(graph.runs_left, "more run")} used it or what was made from it; the first and the newest are shown.`,
    graph.nodes_left > 0 && `${counted(graph.nodes_left, "record")} farther away ${graph.nodes_left === 1 ? "is" : "are"} not drawn.`,
  ].filter(Boolean);
  return said.length ? <Text role="status" fontSize="xs" color="fg.muted" mt={2}>{said.join(" ")}</Text> : null;
}

export function Lineage({ graph }: { graph: LineageGraph }) {
  const drawn = useMemo(() => arrange(graph), [graph]);
  const [chosen, choose] = useState<string | null>(null);
  const node = graph.nodes.find((one) => one.digest === chosen) ?? graph.nodes.find((one) => one.depth === 0);
  const near = new Set(graph.edges.filter((edge) => edge.from === node?.digest || edge.to === node?.digest).flatMap((edge) => [edge.from, edge.to]));
  return (
    <>
          <Plot
            title={`Lineage of ${graph.model} ${graph.version}`}
            about={`${graph.nodes.length} records: ${graph.nodes.map((one) => `${one.record} ${one.label}`).join(", ")}`}
            height={drawn.height}
            least={drawn.width}
            shrinks
            role="group"
            centre={drawn.nodes.find((at) => at.node.depth === 0)?.x}
            sheet={{
              columns: ["digest", "record", "label", "depth", "dag", "run", "task", "commit", "at"],
              rows: graph.nodes.map((one) => [
                one.digest, one.record, one.label, one.depth, one.made_by.dag_id, one.made_by.run_id, one.made_by.task_id, one.commit, one.at,
              ]),
            }}
          >
            {() => (
              <>
                {drawn.edges.map((edge) => (
                  <path
                    key={edge.key} d={edge.path} fill="none" strokeWidth={1.3}
                    stroke={edge.from === node?.digest || edge.to === node?.digest ? INK.line : INK.quiet}
                    strokeOpacity={edge.from === node?.digest || edge.to === node?.digest ? 1 : 0.4}
                  />
                ))}
                {drawn.nodes.map((at) => (
                  <Record
                    key={at.node.digest} node={at.node} x={at.x} y={at.y} near={near.has(at.node.digest)}
                    chosen={at.node.digest === node?.digest} choose={() => choose(at.node.digest)}
                  />
                ))}
              </>
            )}
          </Plot>
      {node && (
        <HStack gap={4} fontSize="xs" color="fg.muted" mt={2} wrap="wrap" aria-live="polite">
          <Text color="fg" fontWeight="medium" overflowWrap="anywhere">{`${node.record} ${node.label}`}</Text>
          <DigestText digest={node.digest} />
          <TaskLink task={node.made_by} />
          <span>{`commit ${node.commit.slice(0, 12)}`}</span>
          <Time at={node.at} />
        </HStack>
      )}
      <Rest graph={graph} />
    </>
  );
}

interface RecordProps {
  node: Node;
  x: number;
  y: number;
  chosen: boolean;
  near: boolean;
  choose: () => void;
}

function Record({ node, x, y, chosen, near, choose }: RecordProps) {
  const key = (event: KeyboardEvent) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose();
    }
  };
  return (
    <g
      transform={`translate(${x - WIDE / 2} ${y - HIGH / 2})`} role="button" tabIndex={0} onClick={choose} onKeyDown={key}
      aria-pressed={chosen} aria-label={`${node.record} ${node.label}`} style={{ cursor: "pointer" }}
    >
      <title>{`${node.record} ${node.label}\n${shortDigest(node.digest)}`}</title>
      <rect
        width={WIDE} height={HIGH} rx={4} fill={INK.panel} strokeWidth={chosen || node.depth === 0 ? 2 : 1}
        stroke={chosen ? INK.line : near ? INK.quiet : INK.rule}
      />
      <text x={10} y={17} fill={INK.quiet} style={{ fontSize: "10px" }}>{clipped(node.record, 22)}</text>
      <text x={10} y={33} fontWeight={node.depth === 0 ? 600 : 400}>{clipped(node.label || shortDigest(node.digest), 20)}</text>
    </g>
  );
}

interface Drawn {
  width: number;
  height: number;
  nodes: { node: Node; x: number; y: number }[];
  edges: { key: string; from: string; to: string; path: string }[];
}

function arrange(graph: LineageGraph): Drawn {
  const layout = new dagre.graphlib.Graph();
  layout.setGraph({ rankdir: "LR", nodesep: 14, ranksep: 24, marginx: 4, marginy: 6 });
  layout.setDefaultEdgeLabel(() => ({}));
  for (const node of graph.nodes) {
    layout.setNode(node.digest, { width: WIDE, height: HIGH });
  }
  for (const edge of graph.edges) {
    if (layout.hasNode(edge.from) && layout.hasNode(edge.to)) {
      layout.setEdge(edge.from, edge.to);
    }
  }
  dagre.layout(layout);
  // The library's own types are open here.
  const size = layout.graph() as { width?: number; height?: number };
  const spot = (digest: string) => layout.node(digest) as { x: number; y: number };
  return {
    width: (size.width ?? WIDE) + 8,
    height: (size.height ?? HIGH) + 8,
    nodes: graph.nodes.map((node) => ({ node, ...spot(node.digest) })).map(({ node, x, y }) => ({ node, x, y })),
    edges: layout.edges().map((edge) => ({
      key: `${edge.v} ${edge.w}`,
      from: edge.v,
      to: edge.w,
      // From the right side of the one to the left side of the other, past what stands between them.
      path: curve([
        { x: spot(edge.v).x + WIDE / 2, y: spot(edge.v).y },
        ...(layout.edge(edge) as { points: { x: number; y: number }[] }).points.slice(1, -1),
        { x: spot(edge.w).x - WIDE / 2, y: spot(edge.w).y },
      ]),
    })),
  };
}

function curve(points: readonly { x: number; y: number }[]): string {
  return points.reduce((path, point, at) => {
    const before = points[at - 1];
    if (!before) {
      return `M${point.x},${point.y}`;
    }
    const middle = (before.x + point.x) / 2;
    return `${path}C${middle},${before.y} ${middle},${point.y} ${point.x},${point.y}`;
  }, "");
}
