/** A mixture as somebody composes it: what is set, and nothing that is the default anyway. */

import type { Json } from "../job/asked-spec";
import { isObject, isSame } from "../job/asked-spec";

export type Mixture = { [name: string]: Json };

export const PRESETS = ["flan2021", "flan2021-code", "flan2022", "t0", "t0p", "t0pp", "super-ni"];
export const FIRST: Mixture = { collection: "synthetic", hold_out: { clusters: ["entailment"] } };

const DEFAULTS: Mixture = {
  collection: "flan", tasks: ["*"], preset: null, parts: [], rates: "rows", rate_maximum: 3_000, examples_cap: 30_000, temperature: 1, templates_per_task: 10,
  include_inverted: true, options: "flan2021", missing: "fail", hold_out: {}, weights: {}, published: {}, weight: 1, name: null, inverted_rate: null, no_options_share: 0,
  few_shot: null, prompt_format: "instructions", num_published: null,
};
const HOLD_OUT: Mixture = { clusters: [], tasks: [], adjacent: "exclude", lineage: "ignore", intra_cluster: null, first_clusters: null, datasets_per_cluster: null, evaluation: [], overlap: "fail" };

/** A mixture with one thing said otherwise; what is the default is not said. */
export function with_(mixture: Mixture, change: Mixture): Mixture {
  return asked({ ...mixture, ...change });
}

export function withHoldOut(mixture: Mixture, change: Mixture): Mixture {
  return with_(mixture, { hold_out: { ...heldOutOf(mixture), ...change } });
}

export function heldOutOf(mixture: Mixture): Mixture {
  const { hold_out: held } = mixture;
  return isObject(held) ? held : {};
}

/** Of a mixture of a spec, in which every value is written: what somebody would write. */
export function asked(mixture: Mixture): Mixture {
  const says = (value: Mixture, defaults: Mixture) => Object.fromEntries(Object.entries(value).filter(([name, part]) => part !== undefined && !(name in defaults && isSame(part, defaults[name]))));
  const own = says(mixture, DEFAULTS);
  if (isObject(own["hold_out"])) own["hold_out"] = says(own["hold_out"], HOLD_OUT);
  if (Array.isArray(own["parts"])) own["parts"] = own["parts"].map((part) => (isObject(part) ? asked(part) : part));
  return says(own, DEFAULTS);
}

/** Whether its tasks are chosen here: not those of a preset, nor of parts. */
export function isLeaf(mixture: Mixture): boolean {
  return mixture["preset"] == null && !(Array.isArray(mixture["parts"]) && mixture["parts"].length > 0);
}

/** Reason → the tasks that are left out because of it, the reason of most first. */
export function byReason(excluded: Record<string, string>): [reason: string, tasks: string[]][] {
  const found = new Map<string, string[]>();
  for (const [task, reason] of Object.entries(excluded)) found.set(reason, [...(found.get(reason) ?? []), task]);
  return [...found].sort(([, one], [, other]) => other.length - one.length);
}

/** A text cut where a passage stands in it, whatever its spaces and cases; null where it does not. */
export function around(text: string, passage: string): [before: string, itself: string, after: string] | null {
  const words = passage.trim().split(/\s+/).map((word) => word.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (words.length === 0 || words[0] === "") return null;
  const found = new RegExp(words.join("[\\s\\p{P}\\p{S}]+"), "iu").exec(text);
  if (found === null) return null;
  return [text.slice(0, found.index), found[0], text.slice(found.index + found[0].length)];
}
