/** A row asked through several templates, and a prompt shown as a model reads it. */

import type { Classified } from "./answers";

/** What the votes of several templates come to. */
export interface Vote {
  option: string;
  /** Templates that chose it. */
  chosen: number;
  /** Mean of its probability among the options, over the templates. */
  probability: number;
}

/** The options by how many templates chose them, then by their mean probability. */
export function votesOf(answers: readonly Pick<Classified, "choice" | "scores">[]): Vote[] {
  const options = [...new Set(answers.flatMap((answer) => answer.scores.map((score) => score.option)))];
  return options.map((option) => ({
    option,
    chosen: answers.filter((answer) => answer.choice === option).length,
    probability: answers.reduce((sum, answer) => sum + (answer.scores.find((score) => score.option === option)?.probability ?? 0), 0) / Math.max(1, answers.length),
  })).sort((one, other) => other.chosen - one.chosen || other.probability - one.probability);
}

/** A prompt as a template set of one template, so that POST /render shows its tokens: with its options as they are asked. */
export function promptAsDraft(prompt: string, options: readonly string[], isShown: boolean): { draft: Record<string, unknown>; rows: Record<string, unknown>[] } {
  const hasBlock = options.length > 0 && isShown && !/^OPTIONS:\s*$/m.test(prompt);
  const text = hasBlock ? prompt.trimEnd() : prompt;
  const answer = options[0] ?? "?";
  return {
    draft: {
      name: "shown-in-the-playground", cluster: "sentiment", description: "", licence: "", source: { kind: "synthetic", generator: "shop_reviews", splits: { train: 1 } },
      fields: { prompt: "prompt" }, answer: options.length > 1 ? { column: "answer", choices: [...options] } : { column: "answer" }, metrics: [options.length > 1 ? "accuracy" : "exact_match"],
      templates: [{ input: hasBlock ? "{prompt}\n\n{options_}" : "{prompt}" }],
    },
    rows: [{ prompt: text, answer }],
  };
}
