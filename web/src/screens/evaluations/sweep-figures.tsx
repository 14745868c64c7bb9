/** What a sweep found along its axes: number of clusters, scale, instructions. */

import { Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { Job } from "../../api/client";
import { results } from "../../api/queries";
import { Asked } from "../../parts/asked";
import { seriesColor } from "../../parts/colors";
import { Empty } from "../../parts/empty";
import { count, percent } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { along, axisOf, place, ticksOf, type Along } from "./figures";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [640, 260, 48, 34, 12, 16];

export function SweepFigures({ sweep }: { sweep: Job }) {
  const query = useQuery({ ...results(sweep.id), retry: false });
  return (
    <Asked query={query} lines={6}>
      {({ results: found, partial }) => {
        const { axes = {}, means = [] } = found as { axes?: Record<string, string[]>; means?: Parameters<typeof along>[1] };
        const shown = along(axes, means);
        return (
          <Stack gap="lg">
            {partial && <Text size="sm" c="dimmed">Not all of it has been measured yet: what is missing is not drawn.</Text>}
            {shown.length === 0 ? <Empty title="The sweep has no axis of several settings" /> : shown.map((each) => (
              <Section key={each.axis} title={`By ${each.axis.replaceAll("_", " ")}`}><Lines along={each} /></Section>
            ))}
          </Stack>
        );
      }}
    </Asked>
  );
}

function Lines({ along: { axis, settings, lines } }: { along: Along }) {
  const values = lines.flatMap((line) => line.means.filter((mean) => mean !== null));
  const range = axisOf(values);
  const x = (i: number) => LEFT + ((WIDTH - LEFT - RIGHT) * (i + 0.5)) / settings.length;
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - place(value, range));
  const said = lines.map((line) => `${line.job}: ${settings.map((setting, i) => `${setting} ${percent(line.means[i])}`).join(", ")}`).join(". ");
  return (
    <div className="sheet" style={{ padding: 12 }}>
      <Group gap="md" mb={6}>{lines.map((line, i) => <Text key={line.job} size="xs" className="figures"><span className="swatch" style={{ background: seriesColor(i) }} />{line.job} <b>{percent(line.means.findLast((mean) => mean !== null))}</b> at the last setting</Text>)}</Group>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`Mean over tasks by ${axis}. ${said}`} style={{ width: "100%", maxWidth: 820, minWidth: 480, height: "auto", display: "block" }} fontSize={11} fill="currentColor">
        {ticksOf(range).map((tick) => (
          <g key={tick}>
            <line x1={LEFT} x2={WIDTH - RIGHT} y1={y(tick)} y2={y(tick)} stroke="var(--line)" />
            <text x={LEFT - 6} y={y(tick) + 4} textAnchor="end" opacity={0.75}>{Math.round(100 * tick)} %</text>
          </g>
        ))}
        {settings.map((setting, i) => <text key={setting} x={x(i)} y={HEIGHT - BOTTOM + 18} textAnchor="middle" opacity={0.85}>{setting.length > 18 ? `${setting.slice(0, 17)}…` : setting}</text>)}
        {lines.map((line, number) => {
          const at = line.means.flatMap((mean, i) => (mean === null ? [] : [[x(i), y(mean), mean, i] as const]));
          return (
            <g key={line.job} stroke={seriesColor(number)} fill={seriesColor(number)}>
              <polyline points={at.map(([px, py]) => `${px},${py}`).join(" ")} fill="none" strokeWidth={1.8} />
              {at.map(([px, py, mean, i]) => <circle key={px} cx={px} cy={py} r={4} stroke="none"><title>{`${line.job}, ${settings[i]}: ${percent(mean)} over ${count(line.numTasks[i])} tasks`}</title></circle>)}
            </g>
          );
        })}
      </svg>
    </div>
  );
}
