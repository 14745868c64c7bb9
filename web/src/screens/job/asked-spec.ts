/** A spec as somebody would write it: without what the platform adds, and without what is the default anyway. */

import type { JsonSchema, OpenApi } from "../../api/queries";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const SPECS: Record<string, string> = { tune: "TuneSpec", evaluate: "EvaluateSpec", serve: "ServeSpec", sweep: "SweepSpec" };

export function schemaOf(openapi: OpenApi, kind: string): JsonSchema | undefined {
  return openapi.components.schemas[SPECS[kind] ?? ""];
}

/** The schema behind references, and of several the one that fits the value. */
export function resolved(openapi: OpenApi, schema: JsonSchema | undefined, value?: Json): JsonSchema | undefined {
  if (schema === undefined) return undefined;
  if (schema.$ref !== undefined) {
    const found = openapi.components.schemas[schema.$ref.split("/").at(-1) ?? ""];
    return resolved(openapi, found, value);
  }
  const [only] = schema.allOf ?? [];
  if (only !== undefined && schema.allOf?.length === 1) return resolved(openapi, only, value);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices === undefined) return schema;
  const tag = schema.discriminator?.propertyName;
  if (tag !== undefined && isObject(value)) {
    const mapped = schema.discriminator?.mapping?.[String(value[tag])];
    if (mapped !== undefined) return resolved(openapi, { $ref: mapped }, value);
  }
  const fitting = choices.map((choice) => resolved(openapi, choice, value)).filter((choice) => choice !== undefined && choice.type !== "null");
  if (isObject(value)) return fitting.find((choice) => choice?.properties !== undefined) ?? fitting[0];
  return fitting.length === 1 ? fitting[0] : schema;
}

export function isObject(value: unknown): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Same JSON, whatever the order of names. */
export function isSame(one: unknown, other: unknown): boolean {
  if (Array.isArray(one) && Array.isArray(other)) return one.length === other.length && one.every((part, i) => isSame(part, other[i]));
  if (isObject(one) && isObject(other)) {
    const names = Object.keys(one);
    return names.length === Object.keys(other).length && names.every((name) => name in other && isSame(one[name], other[name]));
  }
  return Object.is(one, other);
}

export type Source = "asked" | "default" | "platform";

export interface Entry {
  pointer: string;
  value: Json;
  source: Source;
  about: string | undefined;
}

/** Every value of a spec with where it comes from. What equals the default counts as the default. */
export function entriesOf(openapi: OpenApi, spec: { [name: string]: Json }): Entry[] {
  const { pins: _pins, ...rest } = spec;
  return entries(openapi, schemaOf(openapi, String(spec["kind"])), rest, "", undefined);
}

function entries(openapi: OpenApi, schema: JsonSchema | undefined, value: { [name: string]: Json }, above: string, defaults: Json | undefined): Entry[] {
  const own = resolved(openapi, schema, value);
  return Object.entries(value).flatMap(([name, part]): Entry[] => {
    const pointer = `${above}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    const field = own?.properties?.[name];
    const standard = isObject(defaults) && name in defaults ? defaults[name] : (field?.default as Json | undefined);
    const about = field?.description;
    const inner = resolved(openapi, field, part);
    if (isObject(part) && inner?.properties !== undefined) {
      return entries(openapi, inner, part, pointer, isObject(standard) ? standard : undefined);
    }
    const isDefault = field !== undefined && standard !== undefined ? isSame(part, standard) : false;
    return [{ pointer, value: part, source: isDefault ? "default" : "asked", about }];
  });
}

/** The spec with only what was asked. */
export function askedOf(openapi: OpenApi, spec: { [name: string]: Json }): { [name: string]: Json } {
  const asked: { [name: string]: Json } = {};
  for (const { pointer, value, source } of entriesOf(openapi, spec)) {
    if (source !== "asked" && pointer !== "/kind") continue;
    const path = pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = path.pop() ?? "";
    let place = asked;
    for (const name of path) {
      const next = place[name];
      if (isObject(next)) place = next;
      else place = place[name] = {};
    }
    place[last] = value;
  }
  return asked;
}
