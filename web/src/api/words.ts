/** The API's words for states and kinds, checked against its types. */

import type { JobKind, JobState } from "./client";

export const JOB_STATES = [
  "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled",
] as const satisfies readonly JobState[];

export const JOB_KINDS = ["tune", "evaluate", "serve", "sweep"] as const satisfies readonly JobKind[];

export const ENDED: ReadonlySet<JobState> = new Set(["succeeded", "failed", "cancelled"]);
