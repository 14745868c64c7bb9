import { describe, expect, it } from "vitest";
import type { Cluster, Task } from "../../api/client";
import { coverage, rowsHere } from "./coverage";

const task = (id: string, cluster: string, rows: Record<string, number | null>) =>
  ({ id, cluster, family: id, rows_here: rows, document: { description: `about ${id}`, templates: [{}, {}] } }) as unknown as Task;
const clusters = [{ id: "a", display_name: "A", adjacent: [] }, { id: "b", display_name: "B", adjacent: ["a"] }] as unknown as Cluster[];
const tasks = [task("one", "a", { train: 3 }), task("two", "b", {}), task("three", "b", { train: 2, test: null })];

describe("coverage", () => {
  it("counts tasks, templates and those without rows", () => {
    const found = coverage(clusters, tasks, {});
    expect(found.map(({ id, numTemplates, numWithoutRows }) => [id, numTemplates, numWithoutRows])).toEqual([["a", 2, 0], ["b", 4, 1]]);
  });

  it("leaves what every filter leaves, and no empty cluster", () => {
    expect(coverage(clusters, tasks, { isMissing: true }).map(({ id, tasks: left }) => [id, left.map((each) => each.id)])).toEqual([["b", ["two"]]]);
    expect(coverage(clusters, tasks, { find: "THREE" })).toHaveLength(1);
    expect(coverage(clusters, tasks, { cluster: "a", isMissing: true })).toEqual([]);
  });

  it("does not add up what was not counted", () => {
    expect(tasks.map(rowsHere)).toEqual([3, 0, null]);
  });
});
