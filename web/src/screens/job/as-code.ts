/** A job to be handed in from elsewhere: with curl, with the command line, from Python. */

import type { Json } from "./asked-spec";

export function asCode(spec: { [name: string]: Json }, yaml: string, server: string): Record<string, string> {
  const json = JSON.stringify(spec, null, 2);
  const name = typeof spec["name"] === "string" ? spec["name"] : "job";
  const file = `${name.replaceAll(/[^A-Za-z0-9._-]/g, "-")}.yaml`;
  return {
    curl: `curl ${quoted(`${server}/jobs`)} \\\n  -H "Authorization: Bearer $FLAN_API_KEY" -H 'Content-Type: application/json' \\\n  -d ${quoted(json)}`,
    "Command line": `cat > ${file} <<'END'\n${yaml.trimEnd()}\nEND\nflan jobs create -f ${file} --server ${server}`,
    Python: `import os\nimport httpx\n\nspec = ${python(spec)}\nanswer = httpx.post(\n    "${server}/jobs",\n    headers={"Authorization": f"Bearer {os.environ['FLAN_API_KEY']}"},\n    json=spec,\n)\nprint(answer.raise_for_status().json()["id"])`,
  };
}

/** For a shell, as it is. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A JSON value as Python writes it. */
export function python(value: Json, indent = ""): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return JSON.stringify(value);
  const inner = `${indent}    `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((part) => `${inner}${python(part, inner)},\n`).join("")}${indent}]`;
  }
  const parts = Object.entries(value);
  if (parts.length === 0) return "{}";
  return `{\n${parts.map(([name, part]) => `${inner}${JSON.stringify(name)}: ${python(part, inner)},\n`).join("")}${indent}}`;
}
