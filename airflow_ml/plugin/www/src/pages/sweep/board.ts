/** What the leaderboard asks the server for, kept in the page's address so that it can be sent to somebody. */

import type { Query } from "../../api/client";

export const PAGE_ROWS = 50;

export interface Board {
  sort: string;
  order: "asc" | "desc";
  status: string;
  group: string;
  text: string;
  /** "true": only trials that no other beats in every objective. */
  front: string;
  offset: number;
}

export function readBoard(query: URLSearchParams): Board {
  const offset = Number(query.get("offset") ?? 0);
  return {
    sort: query.get("sort") ?? "rank",
    order: query.get("order") === "desc" ? "desc" : "asc",
    status: query.get("status") ?? "",
    group: query.get("group") ?? "",
    text: query.get("text") ?? "",
    front: query.get("front") === "true" ? "true" : "",
    offset: Number.isSafeInteger(offset) && offset > 0 ? offset : 0,
  };
}

/** Change the board in an address; any change but that of the page begins at the first page again. */
export function writeBoard(query: URLSearchParams, change: Partial<Board>): URLSearchParams {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries({ offset: 0, ...change })) {
    const nothing = value === "" || value === 0 || (name === "sort" && value === "rank") || value === "asc";
    if (nothing) {
      next.delete(name);
    } else {
      next.set(name, String(value));
    }
  }
  return next;
}

/** A click on a column: sort by it, ascending first; the other way round if it sorts already. */
export function sortedBy(board: Board, by: string): Partial<Board> {
  return { sort: by, order: board.sort === by && board.order === "asc" ? "desc" : "asc" };
}

export function boardQuery(place: { run: string; task: string }, board: Board): Query {
  return {
    run_id: place.run, task_id: place.task, sort: board.sort, order: board.order, status: board.status,
    group: board.group, text: board.text, front: board.front, limit: PAGE_ROWS, offset: board.offset,
  };
}
