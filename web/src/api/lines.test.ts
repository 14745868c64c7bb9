import { expect, test } from "vitest";
import { Lines } from "./lines";

test("a line that comes in two pieces is one line, and one without an end is shown all the same", () => {
  const lines = new Lines();
  lines.push("step 1\nste", 10);
  expect(lines.all).toEqual(["step 1", "ste"]);
  lines.push("p 2\n", 14);

  expect(lines.all).toEqual(["step 1", "step 2"]);
  expect(lines.offset).toBe(14);
});
