import { expect, test } from "vitest";
import type { OpenApi } from "../../api/queries";
import { fieldsOf, valueAt, withValue } from "./form";

const openapi: OpenApi = {
  components: {
    schemas: {
      ServeSpec: {
        properties: {
          kind: { const: "serve" },
          name: { type: "string" },
          pins: { type: "object" },
          count: { anyOf: [{ type: "integer", minimum: 1 }, { type: "null" }], default: null },
          device: { enum: ["auto", "cpu"], default: "auto" },
          tasks: { type: "array", items: { type: "string" }, default: [] },
          sampling: { $ref: "#/components/schemas/Sampling", default: { temperature: 0.7 } },
          either: { oneOf: [{ $ref: "#/components/schemas/Sampling" }, { type: "string" }], discriminator: { propertyName: "kind" } },
        },
        required: ["name"],
      },
      Sampling: { properties: { temperature: { type: "number", default: 0.9 }, greedy: { type: "boolean", default: false } } },
    },
  },
};

test("each field is what its schema says, and what the platform writes is not asked", () => {
  const fields = fieldsOf(openapi, "serve");

  expect(fields.map(({ name, kind }) => [name, kind])).toEqual([
    ["name", "text"], ["count", "number"], ["device", "choice"], ["tasks", "texts"], ["sampling", "group"], ["either", "document"],
  ]);
  expect(fields[0]?.isRequired).toBe(true);
  expect(fields[1]).toMatchObject({ isWhole: true, least: 1, standard: null });
  expect(fields[4]?.fields.map(({ path, standard }) => [path.join("."), standard])).toEqual([["sampling.temperature", 0.7], ["sampling.greedy", false]]);
});

test("a value goes to its place; the default, or none, leaves nothing behind", () => {
  const spec = { kind: "serve", sampling: { temperature: 1 }, name: "a" };
  const changed = withValue(spec, ["sampling", "temperature"], 0.2, 0.9);

  expect(valueAt(changed, ["sampling", "temperature"])).toBe(0.2);
  expect(Object.keys(changed)).toEqual(["kind", "sampling", "name"]);
  expect(withValue(changed, ["sampling", "temperature"], 0.9, 0.9)).toEqual({ kind: "serve", name: "a" });
  expect(withValue(spec, ["mixture", "hold_out", "clusters"], ["entailment"])).toMatchObject({ mixture: { hold_out: { clusters: ["entailment"] } } });
  expect(spec.sampling.temperature).toBe(1);
});
