/** A template set as somebody writes it: YAML, as `flan templates push` takes it. */

import { parse, stringify } from "yaml";
import type { TaskDocument } from "../../api/client";
import { isObject, type Json } from "../job/asked-spec";

export type Draft = { [name: string]: Json };

export const FIRST_DRAFT = `name: my-reviews
extends: shop_reviews
templates:
  - input: |-
      {review}
      Is this good or bad?
      {options_}
  - input: Write a review that is {answer}.
    target: "{review}"
    role: inverted
`;

/** YAML to begin with: other templates for a task that comes with the platform. */
export function extensionOf(task: TaskDocument): string {
  return stringify({ name: `${task.name}-mine`, extends: task.name, templates: task.templates.map(written) }, { lineWidth: 0 });
}

/** YAML to begin with: the next version of an uploaded set. */
export function nextVersionOf(task: TaskDocument): string {
  const { templates, ...rest } = task;
  return stringify({ ...(written(rest as unknown as Draft)), templates: templates.map(written) }, { lineWidth: 0 });
}

/** Without what says nothing: null, and what is empty. */
function written(document: object): Draft {
  const says = (value: Json): boolean => value !== null && !(Array.isArray(value) && value.length === 0) && !(isObject(value) && Object.keys(value).length === 0);
  const defaults: Draft = { language: "slots", target: "{answer}", role: "answer", post: "as_written" };
  return Object.fromEntries(
    Object.entries(document as Draft)
      .filter(([name, value]) => says(value) && defaults[name] !== value)
      .map(([name, value]) => [name, isObject(value) ? written(value) : value]),
  );
}

/** The document that a text says, or why it says none. */
export function readDraft(text: string): { draft: Draft } | { fault: string } {
  try {
    const value: unknown = parse(text);
    return isObject(value) ? { draft: value } : { fault: "a template set is a mapping: name, extends, templates" };
  } catch (error) {
    return { fault: error instanceof Error ? (error.message.split("\n")[0] ?? "not YAML") : "not YAML" };
  }
}

/** How many templates a draft has. */
export function numTemplates(draft: Draft): number {
  const { templates } = draft;
  return Array.isArray(templates) ? templates.length : 0;
}

/** A line of a unified diff, for its colour. */
export function kindOfLine(line: string): "added" | "removed" | "place" | "same" {
  if (line.startsWith("+++") || line.startsWith("---") || line.startsWith("@@")) return "place";
  return line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "same";
}
