/** What the templates of a collection cover: clusters, their tasks, and which of these have rows here. */

import type { Cluster, Task } from "../../api/client";

export interface Covered {
  id: string;
  name: string;
  adjacent: readonly string[];
  tasks: Task[];
  numTemplates: number;
  /** Tasks of which no split is on this machine: nothing can be trained or measured on them. */
  numWithoutRows: number;
}

export interface Wanted {
  cluster?: string | undefined;
  find?: string | undefined;
  /** Only tasks without rows here. */
  isMissing?: boolean | undefined;
}

export function hasRows(task: Pick<Task, "rows_here">): boolean {
  return Object.keys(task.rows_here).length > 0;
}

/** Clusters in their order, each with the tasks that are wanted; one of which nothing is left is not there. */
export function coverage(clusters: readonly Cluster[], tasks: readonly Task[], { cluster, find, isMissing }: Wanted): Covered[] {
  const needle = find?.toLowerCase() ?? "";
  const wanted = tasks.filter(
    (task) => (isMissing !== true || !hasRows(task)) && [task.id, task.document.description, task.family].some((text) => text.toLowerCase().includes(needle)),
  );
  return clusters.flatMap(({ id, display_name: name, adjacent }) => {
    const found = wanted.filter((task) => task.cluster === id);
    if (found.length === 0 || (cluster !== undefined && cluster !== id)) return [];
    return [{
      id, name, adjacent, tasks: found,
      numTemplates: found.reduce((sum, task) => sum + task.document.templates.length, 0),
      numWithoutRows: found.filter((task) => !hasRows(task)).length,
    }];
  });
}

/** How many rows of a task are here, over its splits; null = some were not counted. */
export function rowsHere(task: Pick<Task, "rows_here">): number | null {
  const counts = Object.values(task.rows_here);
  return counts.some((count) => count === null) ? null : counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
}
