import { Group, Stack, Table, Text, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ApiError, type Job } from "../../api/client";
import { results } from "../../api/queries";
import { ENDED } from "../../api/words";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { Measured } from "../../parts/metric";
import { percent, UNKNOWN } from "../../parts/numbers";

interface TaskResult {
  task: string; cluster: string; metric: string; split: string; n: number; mean: number; spread: number | null;
  interval?: [number, number] | null; chance?: number | null; majority?: number | null; templates: { index: number; metric_value: number; n: number }[];
}

export function Results({ job }: { job: Job }) {
  const query = useQuery({ ...results(job.id), retry: false, enabled: job.state === "succeeded" });
  if (!ENDED.has(job.state)) return <Empty title="Results come when the evaluation has ended" />;
  if (job.state !== "succeeded" || (query.error instanceof ApiError && query.error.status === 404)) return <Empty title="This job has no results" />;
  return (
    <Asked query={query}>
      {({ results: found }) => {
        const { tasks = [], verdicts = {}, why = {} } = found as { tasks?: TaskResult[]; verdicts?: Record<string, string>; why?: Record<string, string> };
        return (
          <Stack gap="xs">
            <div className="sheet" tabIndex={0}>
              <Table className="wide">
                <Table.Thead><Table.Tr>{["Task", "Cluster", "Metric", "Mean ± spread", "95 % interval", "Chance", "Per template", "Zero-shot?"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
                <Table.Tbody>
                  {tasks.map((each) => (
                    <Table.Tr key={`${each.task}/${each.split}`}>
                      <Table.Td><Text size="sm" fw={600}>{each.task}</Text><Text size="xs" c="dimmed">{each.split}</Text></Table.Td>
                      <Table.Td>{each.cluster}</Table.Td>
                      <Table.Td>{each.metric}</Table.Td>
                      <Table.Td><Measured mean={each.mean} spread={each.templates.length > 1 ? each.spread : null} n={each.n} templates={each.templates.length} /></Table.Td>
                      <Table.Td style={{ whiteSpace: "nowrap" }}>{each.interval == null ? UNKNOWN : `${percent(each.interval[0])} – ${percent(each.interval[1])}`}</Table.Td>
                      <Table.Td>{percent(each.chance)}</Table.Td>
                      <Table.Td><Strip templates={each.templates} /></Table.Td>
                      <Table.Td><Tooltip label={why[each.task] ?? ""} disabled={why[each.task] === undefined}><span tabIndex={0}>{verdicts[each.task] ?? UNKNOWN}</span></Tooltip></Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </div>
            <Group><Text size="xs" c="dimmed">Spread is the standard deviation over templates; the interval is a bootstrap over rows.</Text></Group>
          </Stack>
        );
      }}
    </Asked>
  );
}

/** A dot for every template, on a line from 0 to 100 %. */
function Strip({ templates }: { templates: TaskResult["templates"] }) {
  const label = templates.map((each) => `template ${each.index}: ${percent(each.metric_value)}`).join(", ");
  return (
    <Tooltip label={label}>
      <svg width={140} height={18} role="img" aria-label={label}>
        <line x1={5} x2={135} y1={9} y2={9} stroke="var(--line)" />
        {templates.map((each) => <circle key={each.index} cx={5 + 130 * each.metric_value} cy={9} r={4} fill="var(--accent)" fillOpacity={0.55} />)}
      </svg>
    </Tooltip>
  );
}
