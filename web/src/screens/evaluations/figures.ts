/** What the figures of a report are drawn from. */

import type { Report, Schemas } from "../../api/client";

export type TaskLine = Report["tasks"][number];
export type ClusterLine = Report["clusters"][number];
export type TaskFigures = Schemas["TaskFigures"];

export interface Group {
  cluster: string;
  name: string;
  /** Mean over its tasks, for each column. */
  whole: ClusterLine | undefined;
  tasks: TaskLine[];
}

/** The tasks of a report under their clusters, in the report's order; `find` leaves those that it is in. */
export function groups(report: Report, find = ""): Group[] {
  const needle = find.toLowerCase();
  const ids = [...new Set(report.tasks.map((line) => line.cluster))];
  return ids.flatMap((cluster) => {
    const tasks = report.tasks.filter((line) => line.cluster === cluster && (line.task.toLowerCase().includes(needle) || cluster.toLowerCase().includes(needle)));
    const whole = report.clusters.find((line) => line.cluster === cluster);
    return tasks.length === 0 ? [] : [{ cluster, name: whole?.name ?? cluster, whole, tasks }];
  });
}

/** Where a figure stands on an axis from `low` to `high`, between 0 and 1. */
export function place(value: number, [low, high]: readonly [number, number]): number {
  return high === low ? 0.5 : Math.min(1, Math.max(0, (value - low) / (high - low)));
}

/** An axis that holds every value, on tenths; shares from 0 where they come near it. */
export function axisOf(values: readonly number[]): [number, number] {
  if (values.length === 0) return [0, 1];
  const low = Math.floor(Math.min(...values) * 10) / 10;
  const high = Math.ceil(Math.max(...values) * 10) / 10;
  return [low <= 0.3 && low > 0 ? 0 : low, high === low ? low + 0.1 : high];
}

/** Ticks of an axis: tenths, or fifths where it is long. */
export function ticksOf([low, high]: readonly [number, number]): number[] {
  const step = high - low > 0.55 ? 0.2 : 0.1;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor((high - low) / step + 1e-9) + 1 }, (_, i) => Number(((first + i) * step).toFixed(6))).filter((tick) => tick <= high + 1e-9);
}

export interface Along {
  axis: string;
  settings: string[];
  /** Of each of the sweep's evaluations: its mean at each setting; null where there is none. */
  lines: { job: string; means: (number | null)[]; numTasks: (number | null)[] }[];
}

interface CellMean {
  cell: Record<string, string>;
  job: string;
  mean: number;
  num_tasks: number;
}

/** A sweep's means along each axis of more than one setting; over the other axes they are averaged. */
export function along(axes: Record<string, readonly string[]>, means: readonly CellMean[]): Along[] {
  const jobs = [...new Set(means.map((each) => each.job))];
  return Object.entries(axes).filter(([, settings]) => settings.length > 1).map(([axis, settings]) => ({
    axis,
    settings: [...settings],
    lines: jobs.map((job) => {
      const at = settings.map((setting) => means.filter((each) => each.job === job && each.cell[axis] === setting));
      return {
        job,
        means: at.map((here) => (here.length === 0 ? null : here.reduce((sum, each) => sum + each.mean, 0) / here.length)),
        numTasks: at.map((here) => (here.length === 0 ? null : here.reduce((sum, each) => sum + each.num_tasks, 0))),
      };
    }),
  }));
}

/** Signed, in points of a percent: +3.2. */
export function points(difference: number): string {
  const shown = (100 * Math.abs(difference)).toFixed(1);
  return shown === "0.0" ? "±0.0" : `${difference > 0 ? "+" : "−"}${shown}`;
}
