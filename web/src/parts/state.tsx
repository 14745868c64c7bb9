/** How a job stands: a word, a colour and a shape, so that none of the three is needed alone. */

import { Group } from "@mantine/core";
import type { JobState } from "../api/client";

const SHAPES: Record<JobState, { color: string; shape: "ring" | "dot" | "bars" | "check" | "cross" | "dash"; moves?: boolean }> = {
  queued: { color: "queued", shape: "ring" },
  running: { color: "running", shape: "dot", moves: true },
  pausing: { color: "paused", shape: "bars", moves: true },
  paused: { color: "paused", shape: "bars" },
  cancelling: { color: "cancelled", shape: "dash", moves: true },
  succeeded: { color: "succeeded", shape: "check" },
  failed: { color: "failed", shape: "cross" },
  cancelled: { color: "cancelled", shape: "dash" },
};

export function stateColor(state: JobState): string {
  return `var(--state-${SHAPES[state].color})`;
}

export function State({ state, size = 14 }: { state: JobState; size?: number }) {
  const { shape, moves } = SHAPES[state];
  return (
    <Group gap={7} wrap="nowrap" component="span" style={{ display: "inline-flex" }} data-state={state}>
      <svg width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" className={moves === true ? "breathes" : undefined}
        fill="none" stroke={stateColor(state)} strokeWidth="2.4" strokeLinecap="round" strokeLinejoin="round" style={{ flex: "none" }}>
        {shape === "dot" && <circle cx="8" cy="8" r="5" fill={stateColor(state)} stroke="none" />}
        {shape === "ring" && <circle cx="8" cy="8" r="5" />}
        {shape === "bars" && <path d="M5.5 4v8M10.5 4v8" />}
        {shape === "check" && <path d="M3 8.5 6.5 12 13 4.5" />}
        {shape === "cross" && <path d="M4 4l8 8M12 4l-8 8" />}
        {shape === "dash" && <path d="M3.5 8h9" />}
      </svg>
      <span style={{ whiteSpace: "nowrap" }}>{state}</span>
    </Group>
  );
}
