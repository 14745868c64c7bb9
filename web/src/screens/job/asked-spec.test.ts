import { expect, test } from "vitest";
import type { OpenApi } from "../../api/queries";
import { askedOf, entriesOf, isSame } from "./asked-spec";

const openapi: OpenApi = {
  components: {
    schemas: {
      TuneSpec: {
        properties: {
          kind: { const: "tune", default: "tune" },
          name: { type: "string" },
          steps: { type: "integer", default: 30_000, description: "Optimizer updates." },
          optimizer: { $ref: "#/components/schemas/Optimizer", default: { name: "adamw", rate: 0.1 } },
          method: { oneOf: [{ $ref: "#/components/schemas/Full" }, { $ref: "#/components/schemas/Lora" }], default: { kind: "full" }, discriminator: { propertyName: "kind", mapping: { full: "#/components/schemas/Full", lora: "#/components/schemas/Lora" } } },
        },
        required: ["name"],
      },
      Optimizer: { properties: { name: { type: "string", default: "other" }, rate: { type: "number", default: 0.5 } } },
      Full: { properties: { kind: { const: "full", default: "full" } } },
      Lora: { properties: { kind: { const: "lora", default: "lora" }, rank: { type: "integer", default: 8 } } },
    },
  },
};
const resolvedSpec = { kind: "tune", name: "a", steps: 20, optimizer: { name: "adamw", rate: 0.2 }, method: { kind: "lora", rank: 8 }, pins: { tasks: {} } };

test("what is left of a resolved spec is what somebody asked for", () => {
  expect(askedOf(openapi, resolvedSpec)).toEqual({ kind: "tune", name: "a", steps: 20, optimizer: { rate: 0.2 }, method: { kind: "lora" } });
});

test("a value's source is told by the default of the place where it stands", () => {
  const sources = Object.fromEntries(entriesOf(openapi, resolvedSpec).map(({ pointer, source }) => [pointer, source]));

  expect(sources).toMatchObject({ "/steps": "asked", "/optimizer/name": "default", "/optimizer/rate": "asked", "/method/rank": "default", "/method/kind": "asked" });
  expect(sources).not.toHaveProperty("/pins");
});

test("equal JSON is equal in whatever order its names stand", () => {
  expect(isSame({ a: [1, { b: null }], c: 2 }, { c: 2, a: [1, { b: null }] })).toBe(true);
  expect(isSame({ a: 1 }, { a: 1, b: undefined })).toBe(false);
  expect(isSame([1, 2], [2, 1])).toBe(false);
});
