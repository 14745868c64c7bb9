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
  expect(smoothed([1, 2, 3], [2, 2, 2], 0.9, 1).map((value) => value?.toFixed(9))).toEqual(Array(3).fill("2.000000000"));
  expect(smoothed([1, 2, 3], [4, null, 4], 0.98, 1)[1]).toBeNull();
  expect(smoothed([5], [7], 0.9, 5)[0]).toBeCloseTo(7);
});

test("a curve of means of stretches is smoothed to where the whole one is", () => {
  const steps = Array.from({ length: 30_000 }, (_, i) => i + 1);
  const values = steps.map((step) => 3 + Math.exp(-step / 4_000) + 0.2 * Math.sin(step));
  const size = 10;
  const ends = steps.filter((step) => step % size === 0);
  const means = ends.map((end) => values.slice(end - size, end).reduce((sum, value) => sum + value) / size);

  const whole = smoothed(steps, values, 0.98, 1);
  smoothed(ends, means, 0.98, 1).forEach((value, i) => expect(Math.abs((value ?? 0) - (whole[(ends[i] ?? 0) - 1] ?? 0))).toBeLessThan(0.05));
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
