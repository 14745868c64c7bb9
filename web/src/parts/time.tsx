/** Moments: said by how long ago they were, with the local time and UTC when pointed at. */

import { Tooltip } from "@mantine/core";
import { useSyncExternalStore } from "react";
import { duration, UNKNOWN } from "./numbers";

let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** Now, in Unix seconds, told once a second. */
export function useNow(): number {
  return Math.floor(useSyncExternalStore(subscribe, () => now) / 1000);
}

const local = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export function moment(seconds: number): string {
  return local.format(new Date(seconds * 1000));
}

export function utc(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export function When({ at, children }: { at: number; children?: React.ReactNode }) {
  return (
    <Tooltip label={<>{moment(at)}<br />{utc(at)}</>} events={{ hover: true, focus: true, touch: true }}>
      <time dateTime={new Date(at * 1000).toISOString()}>{children ?? moment(at)}</time>
    </Tooltip>
  );
}

/** 3 min ago */
export function Ago({ at }: { at: number | null | undefined }) {
  const current = useNow();
  if (at == null) return <>{UNKNOWN}</>;
  const age = current - at;
  return <When at={at}>{age < 5 ? "just now" : `${coarse(age)} ago`}</When>;
}

/** Of a duration, its largest unit: who wants more points at it. */
function coarse(seconds: number): string {
  return duration(seconds).split(" ").slice(0, 2).join(" ");
}

/** How long something took, or takes by now. */
export function Lasted({ from, to }: { from: number | null | undefined; to: number | null | undefined }) {
  const current = useNow();
  if (from == null) return <>{UNKNOWN}</>;
  return <>{duration((to ?? current) - from)}</>;
}
