/** What a run says of the data it has seen: its first batch, and the shares that came out beside those asked for. */

import type { JobEvent, Schemas } from "../../api/client";

export interface Side {
  side: "encoder" | "decoder";
  ids: number[];
  texts: string[];
  loss_mask: number[];
}

export interface Segment {
  task: string;
  row: number;
  template: number;
  has_shots: boolean;
  sides: Side[];
}

export interface FirstBatch {
  packs: number;
  target_tokens: number;
  num_segments: number;
  segments: Segment[];
}

/** The first pack of the newest attempt that began at step 1. */
export function firstBatch(events: readonly JobEvent[]): FirstBatch | null {
  const found = events.findLast((event) => event.type === "batch.first");
  return found === undefined ? null : (found.data as unknown as FirstBatch);
}

export type Composition = Pick<Schemas["MixturePreview"], "clusters" | "tasks" | "unit" | "parts" | "sampled">;

export interface Row {
  name: string;
  asked: number;
  realised: number | null;
  askedTokens: number | null;
  realisedTokens: number | null;
}

/** Shares asked for and realised, the largest first. */
export function rowsOf(shares: Record<string, Schemas["Share"]>): Row[] {
  return Object.entries(shares).map(([name, share]) => ({
    name, asked: share.examples, realised: share.realised_examples ?? null, askedTokens: share.tokens ?? null, realisedTokens: share.realised_tokens ?? null,
  })).sort((one, other) => other.asked - one.asked);
}

/** The counts of a run that were told with its figures: what was drawn, cut, dropped. */
export function countsOf(progress: Record<string, unknown> | null): [name: string, count: number][] {
  const known = ["drawn", "cut", "other_row", "dropped", "input_too_long", "target_too_long", "bad_row"];
  return known.flatMap((name): [string, number][] => { const value = progress?.[name]; return typeof value === "number" ? [[name.replaceAll("_", " "), value]] : []; });
}

/** How deep the colour of a cell is: 0 for nothing, 1 for the most of them. */
export function heat(value: number, most: number): number {
  return most === 0 ? 0 : Math.max(0.06, value / most) * (value > 0 ? 1 : 0);
}
