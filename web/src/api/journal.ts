/** What a job's page knows of it, kept true by its journal: read once, then followed. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { api, body, everything, type Job, type JobEvent } from "./client";
import { follow, type Connection } from "./follow";
import { job as jobQuery } from "./queries";
import { Series } from "./series";

/** Told so often that a list of them says nothing: their figures are in charts and in the job's progress. */
const FIGURES = ["metrics", "progress"];

export class Journal {
  /** What happened besides figures, in order. */
  events: JobEvent[] = [];
  /** Figures that came while the page was open, by name. */
  readonly series = new Map<string, Series>();
  progress: Record<string, unknown> | null = null;
  connection: Connection = "connecting";
  error: unknown = null;
  private version = 0;
  private readonly listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly snapshot = (): number => this.version;

  changed(): void {
    this.version += 1;
    for (const listener of this.listeners) listener();
  }

  take(events: JobEvent[]): void {
    for (const event of events) {
      if (event.type === "metrics") this.measure(event.data);
      else if (event.type === "progress") this.progress = event.data;
    }
    this.events = [...this.events, ...events.filter((event) => !FIGURES.includes(event.type))];
    this.changed();
  }

  private measure(data: JobEvent["data"]): void {
    const { step, values } = data as { step?: number; values?: Record<string, number> };
    if (typeof step !== "number") return;
    for (const [name, value] of Object.entries(values ?? {})) {
      const series = this.series.get(name) ?? new Series();
      series.put(step, Number.isFinite(value) ? value : null);
      this.series.set(name, series);
    }
  }
}

/** The journal of a job from its beginning, followed until it ends. */
export function useJournal(job: Job | undefined): Journal {
  const queries = useQueryClient();
  const [journal, setJournal] = useState(() => new Journal());
  const id = job?.id;
  // Followed from where the job was when the page read it; later readings of it change nothing here.
  const start = useRef(job);
  start.current ??= job;
  useEffect(() => {
    if (id === undefined || start.current === undefined) return;
    const fresh = new Journal();
    setJournal(fresh);
    const over = new AbortController();
    const after = start.current.id === id ? start.current.num_events : 0;
    void read(id, after)
      .then((events) => {
        if (over.signal.aborted) return undefined;
        fresh.take(events);
        return follow(id, {
          after,
          onEvents: (news) => {
            fresh.take(news);
            if (news.some((event) => !FIGURES.includes(event.type))) void queries.invalidateQueries({ queryKey: ["job", id] });
          },
          onConnection: (connection) => {
            fresh.connection = connection;
            fresh.changed();
            if (connection === "ended") void queries.invalidateQueries({ queryKey: ["job", id] });
          },
        }, over.signal);
      })
      .catch((error: unknown) => {
        fresh.error = error;
        fresh.changed();
      });
    return () => over.abort();
  }, [id, queries]);
  useSyncExternalStore(journal.subscribe, journal.snapshot);
  return journal;
}

/** The events up to number `until`, figures left out. */
async function read(id: string, until: number): Promise<JobEvent[]> {
  const page = async (after: string | undefined) => {
    const query = { after: Number(after ?? 0), limit: 999, without: FIGURES };
    const listed = await body(api.GET("/jobs/{job_id}/events", { params: { path: { job_id: id }, query } }));
    return { data: listed as { data: JobEvent[]; has_more: boolean; last_id: string | null } };
  };
  const events = await everything(page, 20_000);
  return events.filter((event) => event.seq <= until);
}

/** The names of a job's figures; undefined until they have come. */
export function useNames(id: string, journal: Journal): string[] | undefined {
  const { data, error } = useQuery({
    queryKey: ["job", id, "names"],
    queryFn: () => body(api.GET("/jobs/{job_id}/metrics", { params: { path: { job_id: id }, query: { limit: 999 } } })),
    staleTime: Infinity,
  });
  if (data === undefined && error === null && journal.series.size === 0) return undefined;
  return [...new Set([...(data?.data ?? []).map((metric) => metric.name), ...journal.series.keys()])].sort();
}

/** What is drawn of a run, however long it is; what it says while the page is open comes on top. */
export const MOST_POINTS = 2_000;

/** A figure from the job's first step on: what was there (of a long run, what each stretch of steps keeps), and what comes. */
export function useSeries(id: string, name: string, live?: Series, keep: "extremes" | "mean" = "extremes"): Series | undefined {
  const { data } = useQuery({
    queryKey: ["series", id, name, keep],
    queryFn: async () => {
      const query = { name, thin_to: MOST_POINTS, keep };
      const points = await body(api.GET("/jobs/{job_id}/metrics", { params: { path: { job_id: id }, query } }));
      const series = new Series();
      for (const { step, value } of points.data) series.put(step, value);
      return series;
    },
    staleTime: Infinity,
    gcTime: 60_000,
  });
  if (data !== undefined && live !== undefined) live.steps.forEach((step, i) => data.put(step, live.values[i] ?? null));
  return data;
}

export function useJob(id: string) {
  return useQuery({ ...jobQuery(id), refetchInterval: ({ state }) => (state.data?.finished_at == null ? 5_000 : false) });
}
