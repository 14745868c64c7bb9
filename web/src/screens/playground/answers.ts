/** Questions to a served model: what is sent, and what is shown of the answer. */

import { ask, BASE, type Schemas } from "../../api/client";
import { framesOf, type Frame } from "../../api/sse";

export type Classified = Schemas["ClassifyAnswer"];

export interface Sampling {
  temperature: number | null;
  top_k: number | null;
  top_p: number | null;
  repetition_penalty: number | null;
  max_new_tokens: number | null;
  seed: number | null;
}

export const UNSET: Sampling = { temperature: null, top_k: null, top_p: null, repetition_penalty: null, max_new_tokens: null, seed: null };

/** A served model's own defaults: the published ones. */
export const DEFAULTS = { temperature: 0.9, top_k: 40, top_p: 1, repetition_penalty: 1, max_new_tokens: 256 };

export interface Question {
  model: string;
  prompt: string;
}

/** The body of POST /generate; what nobody set is left to the model's defaults. */
export function generateBody(question: Question, sampling: Sampling): Record<string, unknown> {
  const set = Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== null));
  return { ...question, mode: "sample", ...set };
}

/** The body of POST /classify. */
export function classifyBody(question: Question, options: readonly string[], isShown: boolean): Record<string, unknown> {
  return { ...question, ...(options.length === 0 ? {} : { options }), ...(isShown ? {} : { options_in_prompt: false }) };
}

export interface Written {
  text: string;
  finish: string | null;
  usage: { prompt_tokens: number; completion_tokens: number } | null;
  seed: number | null;
}

/** Stream an answer: each piece as it comes, then how it ended. */
export async function* generate(body: Record<string, unknown>, signal: AbortSignal): AsyncGenerator<Partial<Written>> {
  const response = await ask(`${BASE}/generate`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  for await (const frame of framesOf(response)) yield pieceOf(frame);
}

/** What a frame of a streamed answer adds: a piece of text, or how it ended. Raises Error where it was cut short. */
export function pieceOf({ event, data }: Frame): Partial<Written> {
  const told = JSON.parse(data) as Record<string, unknown>;
  if (event === "token") return { text: String(told["text"] ?? "") };
  if (event === "error") throw new Error(String(told["detail"] ?? "the answer was cut short"));
  if (event !== "done") return {};
  const answer = told as unknown as Schemas["GenerateAnswer"];
  return { finish: answer.choices[0]?.finish_reason ?? null, usage: answer.usage, seed: answer.seed ?? null };
}
