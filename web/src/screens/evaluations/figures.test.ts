import { describe, expect, it } from "vitest";
import type { Report } from "../../api/client";
import { along, axisOf, groups, place, points, ticksOf } from "./figures";

const report = {
  columns: [], clusters: [{ cluster: "a", name: "A", tasks: ["one"], figures: [] }],
  tasks: [{ task: "one", cluster: "a" }, { task: "two", cluster: "b" }, { task: "three", cluster: "a" }],
} as unknown as Report;

describe("figures of a report", () => {
  it("puts tasks under their clusters", () => {
    expect(groups(report).map(({ name, tasks }) => [name, tasks.map((line) => line.task)])).toEqual([["A", ["one", "three"]], ["b", ["two"]]]);
    expect(groups(report, "thr").map(({ cluster }) => cluster)).toEqual(["a"]);
  });

  it("has an axis that holds every value", () => {
    expect(axisOf([0.41, 0.58])).toEqual([0.4, 0.6]);
    expect(axisOf([0.25, 0.9])[0]).toBe(0);
    expect(axisOf([])).toEqual([0, 1]);
    expect(ticksOf([0.4, 0.6])).toEqual([0.4, 0.5, 0.6]);
    expect(ticksOf([0, 1])).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(place(0.5, [0.4, 0.6])).toBeCloseTo(0.5);
    expect(place(2, [0, 1])).toBe(1);
  });

  it("reads a sweep along its axes, and says what is not there", () => {
    const means = [
      { cell: { scale: "s", cluster: "a" }, job: "tuned", mean: 0.4, num_tasks: 2 },
      { cell: { scale: "s", cluster: "b" }, job: "tuned", mean: 0.6, num_tasks: 1 },
    ];
    const [first] = along({ scale: ["s", "m"], only: ["x"] }, means);
    expect(first).toEqual({ axis: "scale", settings: ["s", "m"], lines: [{ job: "tuned", means: [0.5, null], numTasks: [3, null] }] });
    expect(along({ only: ["x"] }, means)).toEqual([]);
  });

  it("signs a difference", () => {
    expect([0.0323, -0.1, 0.0001].map(points)).toEqual(["+3.2", "−10.0", "±0.0"]);
  });
});
