/** Clusters as bars, a bar for each model, as the paper draws them; a whisker is the spread over templates, a dot a task. */

import { Group, Stack, Text } from "@mantine/core";
import type { Report } from "../../api/client";
import { seriesColor } from "../../parts/colors";
import { Empty } from "../../parts/empty";
import { count, percent } from "../../parts/numbers";
import { axisOf, place, ticksOf } from "./figures";
import { Zeroshot } from "./verdict";

export function ClusterBars({ report }: { report: Report }) {
  const shown = report.clusters.filter((line) => line.tasks.length > 0);
  if (shown.length === 0) return <Empty title="No cluster has a task that every column has">A bar is a mean over the same tasks for every model: take away the evaluations of other tasks.</Empty>;
  const ends = shown.flatMap((line) => line.figures.flatMap((figures) => (figures === null ? [] : [figures.mean + (figures.spread ?? 0), 0])));
  const [, high] = axisOf(ends);
  const axis: [number, number] = [Math.min(0, ...ends), Math.max(high, 0.1)];
  return (
    <Stack gap="sm">
      <Group gap="md">{report.columns.map((column, i) => <Text key={i} size="xs"><span className="swatch" style={{ background: seriesColor(i) }} />{column.label}</Text>)}</Group>
      <div className="sheet bars" role="group" aria-label="Mean of each cluster, for each model">
        <div className="bars-axis" aria-hidden="true"><span />{<span className="bars-ticks">{ticksOf(axis).map((tick) => <span key={tick} style={{ left: `${100 * place(tick, axis)}%` }}>{Math.round(100 * tick)} %</span>)}</span>}<span /></div>
        {shown.map((line) => (
          <div key={line.cluster} className="bars-group">
            <div className="bars-name"><Text size="sm" fw={600}>{line.name}</Text><Text size="xs" c="dimmed">{count(line.tasks.length)} {line.tasks.length === 1 ? "task" : "tasks"}</Text></div>
            <div className="bars-all">
              {line.figures.map((figures, i) => {
                if (figures === null) return null;
                const [from, to] = [figures.mean - (figures.spread ?? 0), figures.mean + (figures.spread ?? 0)];
                const dots = report.tasks.filter((task) => line.tasks.includes(task.task)).flatMap((task) => { const one = task.figures[i]; return one == null ? [] : [{ task: task.task, mean: one.over_templates.mean }]; });
                return (
                  <div key={i} className="bars-line">
                    <div className="bars-track" role="img" aria-label={`${report.columns[i]?.label}: ${percent(figures.mean)}${figures.spread === null ? "" : ` plus or minus ${(100 * figures.spread).toFixed(1)}`}, ${count(figures.n)} rows. ${dots.map((dot) => `${dot.task} ${percent(dot.mean)}`).join(", ")}`}>
                      <span className="bar" style={{ width: `${100 * place(figures.mean, axis)}%`, background: seriesColor(i) }} />
                      {figures.spread !== null && <span className="whisker" style={{ left: `${100 * place(from, axis)}%`, width: `${100 * (place(to, axis) - place(from, axis))}%` }} />}
                      {dots.length > 1 && dots.map((dot) => <span key={dot.task} className="dot" title={`${dot.task}: ${percent(dot.mean)}`} style={{ left: `${100 * place(dot.mean, axis)}%` }} />)}
                    </div>
                    <Text size="xs" className="figures nowrap"><b>{percent(figures.mean)}</b>{figures.spread === null ? "" : ` ± ${(100 * figures.spread).toFixed(1)}`} <Text span size="xs" c="dimmed">n {count(figures.n)} · <Zeroshot verdict={figures.verdict} /></Text></Text>
                  </div>
                );
              })}
            </div>
          </div>
        ))}
      </div>
      <Text size="xs" c="dimmed">A bar is the unweighted mean over the cluster’s tasks that every column has; a whisker reaches one spread over templates to each side; a dot is a task. n counts rows.</Text>
    </Stack>
  );
}
