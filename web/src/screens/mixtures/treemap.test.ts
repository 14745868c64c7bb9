import { describe, expect, it } from "vitest";
import { treemap } from "./treemap";

const area = ({ width, height }: { width: number; height: number }) => width * height;

describe("treemap", () => {
  it("gives each its share of the whole, and fills it", () => {
    const weights = [6, 6, 4, 3, 2, 2, 1];
    const placed = treemap(weights, (each) => each, 2);
    const total = weights.reduce((sum, each) => sum + each, 0);
    for (const each of placed) expect(area(each)).toBeCloseTo(each.item / total, 9);
    expect(placed.reduce((sum, each) => sum + area(each), 0)).toBeCloseTo(1, 9);
    for (const { x, y, width, height } of placed) {
      expect(x + width).toBeLessThanOrEqual(1 + 1e-9);
      expect(y + height).toBeLessThanOrEqual(1 + 1e-9);
    }
  });

  it("overlaps nowhere", () => {
    const placed = treemap(Array.from({ length: 60 }, (_, i) => 1 + (i % 9)), (each) => each, 1.6);
    placed.forEach((one, i) => placed.slice(i + 1).forEach((other) => {
      const across = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x);
      const down = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y);
      expect(across > 1e-9 && down > 1e-9).toBe(false);
    }));
  });

  it("leaves out what weighs nothing", () => {
    expect(treemap([1, 0], (each) => each)).toHaveLength(1);
    expect(treemap([], () => 1)).toEqual([]);
  });
});
