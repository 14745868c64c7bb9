import { describe, expect, it } from "vitest";
import type { Classified } from "./answers";
import { promptAsDraft, votesOf } from "./votes";

const answer = (choice: string, shares: Record<string, number>) =>
  ({ choice, scores: Object.entries(shares).map(([option, probability]) => ({ option, probability })) }) as unknown as Classified;

describe("votes", () => {
  it("count choices first, probabilities among equals", () => {
    const found = votesOf([answer("a", { a: 0.6, b: 0.4 }), answer("b", { a: 0.1, b: 0.9 }), answer("a", { a: 0.5, b: 0.5 })]);
    expect(found.map(({ option, chosen }) => [option, chosen])).toEqual([["a", 2], ["b", 1]]);
    expect(found[0]?.probability).toBeCloseTo(0.4);
    expect(votesOf([answer("a", { a: 0.6, b: 0.4 }), answer("b", { a: 0.1, b: 0.9 })])[0]?.option).toBe("b");
    expect(votesOf([])).toEqual([]);
  });
});

describe("prompts", () => {
  it("are shown with the OPTIONS block that they would be asked with", () => {
    const templates = (prompt: string, isShown: boolean) => promptAsDraft(prompt, ["yes", "no"], isShown).draft["templates"];
    expect(templates("Is it? ", true)).toEqual([{ input: "{prompt}\n\n{options_}" }]);
    expect(templates("Is it?\nOPTIONS:\n- yes\n- no", true)).toEqual([{ input: "{prompt}" }]);
    expect(templates("Is it?", false)).toEqual([{ input: "{prompt}" }]);
    expect(promptAsDraft("Is it? ", ["yes", "no"], true).rows).toEqual([{ prompt: "Is it?", answer: "yes" }]);
  });
});
