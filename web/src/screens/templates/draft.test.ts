import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { TaskDocument } from "../../api/client";
import { extensionOf, FIRST_DRAFT, kindOfLine, nextVersionOf, numTemplates, readDraft } from "./draft";

const task = {
  name: "rte", cluster: "entailment", family: null, constants: {}, fields: { premise: "premise" }, answer: { column: "label", choices: ["yes", "no"], labels: {} },
  post: "as_written", templates: [{ language: "slots", input: "{premise}\n{options_}", target: "{answer}", role: "answer" }, { language: "slots", input: "{answer}", target: "{premise}", role: "inverted" }],
} as unknown as TaskDocument;

describe("drafts", () => {
  it("begin with what a task says, without what says nothing", () => {
    expect(parse(extensionOf(task))).toEqual({ name: "rte-mine", extends: "rte", templates: [{ input: "{premise}\n{options_}" }, { input: "{answer}", target: "{premise}", role: "inverted" }] });
    expect(parse(nextVersionOf(task))).toMatchObject({ name: "rte", fields: { premise: "premise" }, answer: { column: "label", choices: ["yes", "no"] } });
    expect(nextVersionOf(task)).not.toContain("null");
  });

  it("are read, or say why not", () => {
    const read = readDraft(FIRST_DRAFT);
    expect("draft" in read && numTemplates(read.draft)).toBe(2);
    expect(readDraft("- a list")).toHaveProperty("fault");
    expect(readDraft("a: [")).toHaveProperty("fault");
  });

  it("colour a diff by line", () => {
    expect(["+++ template 1", "+new", "-old", " same", "@@ -1 +1 @@"].map(kindOfLine)).toEqual(["place", "added", "removed", "same", "place"]);
  });
});
