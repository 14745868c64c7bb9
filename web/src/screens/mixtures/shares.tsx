/** Shares of a mixture as areas: a rectangle for each cluster, in it one for each task. */

import { Text, Tooltip } from "@mantine/core";
import type { MixturePreview } from "../../api/client";
import { seriesColor } from "../../parts/colors";
import { count, percent } from "../../parts/numbers";
import { treemap, type Placed } from "./treemap";

type TaskShare = MixturePreview["tasks"][number];
type Measure = "examples" | "tokens";

export function Shares({ tasks, clusters, measure }: { tasks: readonly TaskShare[]; clusters: MixturePreview["clusters"]; measure: Measure }) {
  const ids = Object.keys(clusters).toSorted((one, other) => (clusters[other]?.examples ?? 0) - (clusters[one]?.examples ?? 0));
  const groups = ids.map((id, number) => ({ id, number, share: clusters[id]?.[measure] ?? 0, tasks: tasks.filter((task) => task.cluster === id) }));
  const said = groups.map(({ id, share }) => `${id} ${percent(share)}`).join(", ");
  return (
    <>
      <div className="treemap" role="group" aria-label={`Shares of ${measure} by cluster: ${said}`}>
        {treemap(groups, ({ share }) => share, 2).map((outer) => (
          <div key={outer.item.id} className="treemap-cluster" style={at(outer)}>
            {outer.width * outer.height > 0.012 && <div className="treemap-name cut" style={{ borderColor: seriesColor(outer.item.number) }}>{outer.item.id} <span>{percent(outer.item.share)}</span></div>}
            <div className="treemap-inner">
              {treemap(outer.item.tasks, (task) => task[measure] ?? 0, (2 * outer.width) / outer.height).map((inner) => <One key={`${inner.item.part}/${inner.item.name}`} inner={inner} outer={outer} color={seriesColor(outer.item.number)} measure={measure} />)}
            </div>
          </div>
        ))}
      </div>
      <Text size="xs" c="dimmed">{count(groups.length)} clusters, {count(tasks.length)} tasks; an area is a share of the {measure}. Point at one for its figures.</Text>
    </>
  );
}

function One({ inner, outer, color, measure }: { inner: Placed<TaskShare>; outer: Placed<unknown>; color: string; measure: Measure }) {
  const { name, examples, tokens, templates } = inner.item;
  const isLarge = inner.width * outer.width > 0.06 && inner.height * outer.height > 0.07;
  return (
    <Tooltip label={`${name}: ${percent(examples, 2)} of the examples${tokens == null ? "" : `, ${percent(tokens, 2)} of the length`}, ${count(templates.length)} templates`}>
      <div className="treemap-task" style={{ ...at(inner), "--own": color } as React.CSSProperties}>
        {isLarge && <span className="cut">{name}<br />{percent(inner.item[measure])}</span>}
      </div>
    </Tooltip>
  );
}

function at({ x, y, width, height }: Placed<unknown>): React.CSSProperties {
  return { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%` };
}
