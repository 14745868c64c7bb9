import { describe, expect, it } from "vitest";
import type { JobEvent } from "../../api/client";
import { countsOf, firstBatch, heat, rowsOf } from "./data-seen";

describe("data seen", () => {
  it("is the first batch that was told last", () => {
    const event = (seq: number, type: string, packs: number) => ({ seq, type, data: { packs } }) as unknown as JobEvent;
    expect(firstBatch([event(1, "batch.first", 1), event(2, "run.started", 0), event(3, "batch.first", 2)])?.packs).toBe(2);
    expect(firstBatch([])).toBeNull();
  });

  it("sets what came out beside what was asked, the largest first", () => {
    expect(rowsOf({ a: { examples: 0.2, realised_examples: 0.3 }, b: { examples: 0.8, tokens: 0.5 } }).map(({ name, asked, realised }) => [name, asked, realised])).toEqual([["b", 0.8, null], ["a", 0.2, 0.3]]);
  });

  it("counts what was told, and nothing else", () => {
    expect(countsOf({ drawn: 5, cut: 0, loss: 2 })).toEqual([["drawn", 5], ["cut", 0]]);
    expect(countsOf(null)).toEqual([]);
  });

  it("shows a little where there is a little, and nothing where there is nothing", () => {
    expect([heat(0, 10), heat(0.01, 10), heat(10, 10), heat(1, 0)]).toEqual([0, 0.06, 1, 0]);
  });
});
