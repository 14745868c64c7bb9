import { expect, test } from "vitest";
import { Series, smoothed, thinned } from "./series";

test("a step that is told again overwrites, and none is lost, in whatever order they come", () => {
  const series = new Series();
  for (const [step, value] of [[10, 3], [20, 2], [5, 9], [20, 1], [15, null], [30, 0]] as const) series.put(step, value);

  expect(series.steps).toEqual([5, 10, 15, 20, 30]);
  expect(series.values).toEqual([9, 3, null, 1, 0]);
  expect(series.last).toBe(0);
});

test("smoothing leaves a constant as it is, and does not lean on the first value", () => {
  expect(smoothed([2, 2, 2], 0.9).map((value) => value?.toFixed(9))).toEqual(Array(3).fill("2.000000000"));
  expect(smoothed([4, null, 4], 0.98)[1]).toBeNull();
  expect(smoothed([7], 0.9)[0]).toBeCloseTo(7);
});

test("thinning keeps the order and every peak", () => {
  const steps = Array.from({ length: 30_000 }, (_, i) => i);
  const values = steps.map((step) => (step === 12_345 ? 99 : step === 20_001 ? -99 : Math.sin(step)));
  const [xs, ys] = thinned(steps, values, 1_000);

  expect(xs.length).toBeLessThanOrEqual(1_002);
  expect(ys).toContain(99);
  expect(ys).toContain(-99);
  expect(xs).toEqual([...xs].sort((one, other) => one - other));
  expect(thinned([1, 2], [3, null], 10)).toEqual([[1, 2], [3, null]]);
});
