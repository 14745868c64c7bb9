import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { asCode, python, quoted } from "./as-code";
import type { Json } from "./asked-spec";

const NASTY: { [name: string]: Json } = { name: "it's \"$HOME\" `id`\n\\ é 🙂", on: true, off: false, none: null, list: [1, [], {}], n: 1e-9 };

test("a shell hands on exactly what was quoted", () => {
  const text = JSON.stringify(NASTY);

  expect(execFileSync("sh", ["-c", `printf %s ${quoted(text)}`], { encoding: "utf8" })).toBe(text);
});

test("Python reads exactly what was meant", () => {
  const read = execFileSync("python3", ["-c", `import json; print(json.dumps(${python(NASTY)}))`], { encoding: "utf8" });

  expect(JSON.parse(read)).toEqual(NASTY);
});

test("every way names the server", () => {
  for (const [, text] of Object.entries(asCode(NASTY, "name: a\n", "http://localhost:8000"))) expect(text).toContain("http://localhost:8000");
});
