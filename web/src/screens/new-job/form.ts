/** What a form asks for, read from a spec's JSON Schema: one field for each value a person would write. */

import type { JsonSchema, OpenApi } from "../../api/queries";
import { isObject, isSame, resolved, schemaOf, type Json } from "../job/asked-spec";

export type Spec = { [name: string]: Json };

export type FieldKind = "text" | "number" | "flag" | "choice" | "texts" | "group" | "document";

export interface Field {
  path: string[];
  name: string;
  about: string | undefined;
  kind: FieldKind;
  choices: string[];
  standard: Json | undefined;
  isRequired: boolean;
  isWhole: boolean;
  least: number | undefined;
  most: number | undefined;
  fields: Field[];
}

/** Written by the platform, or said elsewhere on the page. */
const NOT_ASKED = new Set(["kind", "pins"]);

export function fieldsOf(openapi: OpenApi, kind: string): Field[] {
  const schema = resolved(openapi, schemaOf(openapi, kind));
  return schema === undefined ? [] : below(openapi, schema, [], undefined, 0);
}

function below(openapi: OpenApi, schema: JsonSchema, above: string[], defaults: Json | undefined, depth: number): Field[] {
  return Object.entries(schema.properties ?? {})
    .filter(([name]) => depth > 0 || !NOT_ASKED.has(name))
    .map(([name, field]) => fieldOf(openapi, name, field, [...above, name], schema.required?.includes(name) ?? false, isObject(defaults) ? defaults[name] : undefined, depth));
}

function fieldOf(openapi: OpenApi, name: string, field: JsonSchema, path: string[], isRequired: boolean, inherited: Json | undefined, depth: number): Field {
  const standard = inherited ?? (field.default as Json | undefined);
  const own = resolved(openapi, withoutNull(openapi, field), standard) ?? field;
  const common = {
    path, name, about: field.description, standard, isRequired, choices: [] as string[], fields: [] as Field[],
    isWhole: own.type === "integer", least: own.minimum ?? own.exclusiveMinimum, most: own.maximum,
  };
  if (own.enum !== undefined) return { ...common, kind: "choice", choices: own.enum.filter((each) => each !== null).map(String) };
  if (own.type === "boolean") return { ...common, kind: "flag" };
  if (own.type === "integer" || own.type === "number") return { ...common, kind: "number" };
  if (own.type === "string" && own.const === undefined) return { ...common, kind: "text" };
  if (own.type === "array" && resolved(openapi, own.items)?.type === "string") return { ...common, kind: "texts" };
  const isOneShape = own.properties !== undefined && field.oneOf === undefined && field.discriminator === undefined;
  if (isOneShape && depth < 2) return { ...common, kind: "group", fields: below(openapi, own, path, standard, depth + 1) };
  return { ...common, kind: "document" };
}

/** A field that may also be null, as if it could not: an empty field says null. */
function withoutNull(openapi: OpenApi, schema: JsonSchema): JsonSchema {
  if (schema.anyOf === undefined) return schema;
  const rest = schema.anyOf.filter((each) => resolved(openapi, each)?.type !== "null");
  return rest.length === 1 && rest[0] !== undefined ? rest[0] : { ...schema, anyOf: rest };
}

export function valueAt(spec: Spec, path: readonly string[]): Json | undefined {
  let value: Json | undefined = spec;
  for (const name of path) value = isObject(value) ? value[name] : undefined;
  return value;
}

/** The spec with another value at `path`; what is undefined, or the default anyway, is left out. */
export function withValue(spec: Spec, path: readonly string[], value: Json | undefined, standard?: Json): Spec {
  const [name, ...rest] = path;
  if (name === undefined) return spec;
  const { [name]: before, ...others } = spec;
  if (rest.length === 0) {
    const isLeftOut = value === undefined || (standard !== undefined && isSame(value, standard));
    if (isLeftOut) return others;
    return before === undefined ? { ...spec, [name]: value } : mapped(spec, name, value);
  }
  const inner = withValue(isObject(before) ? before : {}, rest, value, standard);
  if (Object.keys(inner).length === 0) return others;
  return before === undefined ? { ...spec, [name]: inner } : mapped(spec, name, inner);
}

/** In its place: the order of a document is its writer's. */
function mapped(spec: Spec, name: string, value: Json): Spec {
  return Object.fromEntries(Object.entries(spec).map(([each, old]) => [each, each === name ? value : old]));
}
