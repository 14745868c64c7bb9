/** How far a job is: rank 0's own words, whichever kind of job it is. */

import type { Job } from "../../api/client";
import { count, duration, figure } from "../../parts/numbers";

export interface Progress {
  /** Between 0 and 1; null = its end is not known. */
  share: number | null;
  words: string;
  etaS: number | null;
}

export function progressOf(job: Pick<Job, "kind" | "state" | "spec">, told: Record<string, unknown> | null): Progress | null {
  if (told === null) return null;
  const number = (name: string) => (typeof told[name] === "number" ? (told[name] as number) : null);
  const [done, total] = job.kind === "tune" ? [number("step"), number("total_steps")] : [number("done"), number("total")];
  const etaS = number("eta_s");
  const loss = number("loss");
  const parts: string[] = [];
  if (done !== null && total !== null) parts.push(`${count(done)} of ${count(total)} ${job.kind === "tune" ? "steps" : job.kind === "sweep" ? "jobs" : "questions"}`);
  if (loss !== null) parts.push(`loss ${figure(loss)}`);
  if (etaS !== null && job.state === "running" && etaS > 0) parts.push(`${duration(etaS)} left`);
  if (parts.length === 0) return null;
  return { share: done !== null && total !== null && total > 0 ? Math.min(1, done / total) : null, words: parts.join(" · "), etaS };
}

/** What a job is about, in few words: base and mixture, or model and tasks. */
export function subjectOf(spec: Record<string, unknown>): string {
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  switch (spec["kind"]) {
    case "tune":
      return text(spec["base"]);
    case "evaluate":
      return text(spec["suite"]) === "" ? text(spec["model"]) : `${text(spec["model"])} on ${text(spec["suite"])}`;
    case "serve":
      return text(spec["model"]);
    default:
      return text(spec["preset"]) === "" ? text(spec["experiment"]) : `${text(spec["preset"])} ${text(spec["scale"])}`;
  }
}

/** What it is tuned on or measured on, in few words. */
export function tasksOf(spec: Record<string, unknown>): string {
  const mixture = spec["mixture"] as { preset?: string | null; tasks?: string[]; hold_out?: { clusters?: string[] } } | undefined;
  const asked = (spec["kind"] === "tune" ? mixture?.tasks : (spec["tasks"] as string[] | undefined)) ?? [];
  const shown = mixture?.preset ?? (asked.length > 2 ? `${asked.slice(0, 2).join(", ")} + ${asked.length - 2}` : asked.join(", "));
  const heldOut = mixture?.hold_out?.clusters ?? [];
  const all = shown === "*" ? "all tasks" : shown;
  return heldOut.length > 0 ? `${all} without ${heldOut.join(", ")}` : all;
}
