/** A job's journal as it grows, through every break of the connection: no event twice, none missed. */

import { ApiError, ask, BASE, type JobEvent } from "./client";
import { framesOf } from "./sse";

export type Connection = "connecting" | "live" | "waiting" | "ended";

export interface Following {
  /** Events with a `seq` behind this one are told. */
  after: number;
  onEvents: (events: JobEvent[]) => void;
  onConnection: (connection: Connection) => void;
}

/** How long to wait before try number `failures`, in ms: 0.5, 1, 2, 4, then 8 s. */
export function pauseBefore(failures: number): number {
  return Math.min(8_000, 500 * 2 ** (failures - 1));
}

/** Longest silence of a stream that is alive: it says so every 15 s. */
const SILENCE_MS = 40_000;

/** Follow a job until it ends or `signal` aborts. A hidden page lets go of its connection: a browser has only six. */
export async function follow(jobId: string, following: Following, signal: AbortSignal): Promise<void> {
  let { after } = following;
  let failures = 0;
  while (!signal.aborted) {
    await untilShown(signal);
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop);
    const unhide = onHidden(stop);
    let silence = setTimeout(stop, SILENCE_MS);
    try {
      if (failures === 0) following.onConnection("connecting");
      const url = `${BASE}/jobs/${encodeURIComponent(jobId)}/events?stream=true&after=${after}`;
      const response = await ask(url, { signal: attempt.signal, headers: { Accept: "text/event-stream" } });
      following.onConnection("live");
      failures = 0;
      let waiting: JobEvent[] = [];
      let flush: ReturnType<typeof setTimeout> | undefined;
      const tell = () => {
        flush = undefined;
        const events = waiting;
        waiting = [];
        if (events.length > 0) following.onEvents(events);
      };
      try {
        for await (const frame of framesOf(response)) {
          clearTimeout(silence);
          silence = setTimeout(stop, SILENCE_MS);
          if (frame.event === "stream.end") {
            tell();
            following.onConnection("ended");
            return;
          }
          const event = JSON.parse(frame.data) as JobEvent;
          if (event.seq <= after) continue;
          after = event.seq;
          waiting.push(event);
          // A journal is read in hundreds: one drawing for all that came together.
          flush ??= setTimeout(tell, 50);
        }
      } finally {
        clearTimeout(flush);
        tell();
      }
    } catch (error) {
      const isOurs = error instanceof ApiError && error.status >= 400 && error.status < 500;
      if (isOurs) return;
    } finally {
      clearTimeout(silence);
      unhide();
      signal.removeEventListener("abort", stop);
      attempt.abort();
    }
    if (signal.aborted) return;
    if (!document.hidden) {
      failures += 1;
      following.onConnection("waiting");
      await pause(pauseBefore(failures), signal);
    }
  }
}

function onHidden(then: () => void): () => void {
  const look = () => {
    if (document.hidden) then();
  };
  document.addEventListener("visibilitychange", look);
  return () => document.removeEventListener("visibilitychange", look);
}

function untilShown(signal: AbortSignal): Promise<void> {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
