import { describe, expect, it } from "vitest";

import { boardQuery, readBoard, sortedBy, writeBoard } from "./board";

const read = (text: string) => readBoard(new URLSearchParams(text));

describe("the leaderboard's address", () => {
  it("has defaults, and takes no nonsense", () => {
    expect(read("")).toEqual({ sort: "rank", order: "asc", status: "", group: "", text: "", front: "", offset: 0 });
    expect(read("order=up&offset=-5").order).toBe("asc");
    expect(read("offset=-5").offset).toBe(0);
    expect(read("offset=1e99").offset).toBe(0);
    expect(read("offset=x").offset).toBe(0);
  });

  it("keeps what others put there and drops what is default", () => {
    const query = writeBoard(new URLSearchParams("run_id=r&sort=value&offset=100"), { sort: "rank" });
    expect(query.toString()).toBe("run_id=r");
  });

  it("begins at the first page after each change but that of the page", () => {
    expect(readBoard(writeBoard(new URLSearchParams("offset=100"), { text: "nan" })).offset).toBe(0);
    expect(readBoard(writeBoard(new URLSearchParams("text=nan"), { offset: 50 }))).toMatchObject({ text: "nan", offset: 50 });
  });

  it("survives its own writing", () => {
    const board = { sort: "param.a&b", order: "desc", status: "failed", group: "ü/=", text: "<b>", front: "true", offset: 50 } as const;
    expect(readBoard(writeBoard(new URLSearchParams(), board))).toEqual(board);
  });

  it("turns the order at the second click", () => {
    expect(sortedBy(read(""), "value")).toEqual({ sort: "value", order: "asc" });
    expect(sortedBy(read("sort=value"), "value")).toEqual({ sort: "value", order: "desc" });
    expect(sortedBy(read("sort=value&order=desc"), "value")).toEqual({ sort: "value", order: "asc" });
  });

  it("is asked of the server", () => {
    expect(boardQuery({ run: "r", task: "t" }, read("text=a&offset=50"))).toEqual({
      run_id: "r", task_id: "t", sort: "rank", order: "asc", status: "", group: "", text: "a", front: "", limit: 50, offset: 50,
    });
  });
});
