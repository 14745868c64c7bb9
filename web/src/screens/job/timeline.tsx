/** What happened to a job, attempt by attempt. */

import { Card, Group, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { Job, JobEvent } from "../../api/client";
import type { Journal } from "../../api/journal";
import { attempts } from "../../api/queries";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { bytes, count, duration, UNKNOWN } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { moment, When } from "../../parts/time";

export function Timeline({ job, journal }: { job: Job; journal: Journal }) {
  const query = useQuery(attempts(job.id));
  return (
    <Stack gap="lg">
      <Section title="Attempts">
        <Asked query={query} lines={2}>
          {(tried) => tried.length === 0 ? <Empty title="It has not been started yet">It starts as soon as a node has the slots it needs.</Empty> : (
            <div className="sheet" tabIndex={0} role="group" aria-label="Attempts">
              <Table className="wide">
                <Table.Thead><Table.Tr>{["Attempt", "Node", "Began", "Took", "From step", "Ending", "Why"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
                <Table.Tbody>
                  {tried.map((attempt) => (
                    <Table.Tr key={attempt.number}>
                      <Table.Td>{attempt.number}</Table.Td>
                      <Table.Td>{attempt.node}</Table.Td>
                      <Table.Td><When at={attempt.started_at} /></Table.Td>
                      <Table.Td>{attempt.ended_at === null ? "runs" : duration(attempt.ended_at - attempt.started_at)}</Table.Td>
                      <Table.Td>{attempt.resumed_from === null ? "the start" : count(attempt.resumed_from)}</Table.Td>
                      <Table.Td>{attempt.ending ?? UNKNOWN}</Table.Td>
                      <Table.Td className="words" maw={420}>{attempt.error?.message ?? ""}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </div>
          )}
        </Asked>
      </Section>
      <Section title="What happened">
        {journal.error !== null && <ErrorCard error={journal.error} />}
        <Card padding={0}>
          <ol style={{ listStyle: "none", margin: 0, padding: "6px 14px", maxHeight: 560, overflow: "auto" }} tabIndex={0} aria-label="Events, newest first">
            {journal.events.toReversed().slice(0, 500).map((event, index, shown) => <Line key={event.seq} event={event} before={shown[index + 1]} />)}
          </ol>
        </Card>
        {journal.events.length > 500 && <Text size="sm" c="dimmed">The newest 500 of {count(journal.events.length)} events. All of them: flan jobs events {job.id}</Text>}
      </Section>
    </Stack>
  );
}

function Line({ event, before }: { event: JobEvent; before: JobEvent | undefined }) {
  return (
    <li style={{ display: "grid", gridTemplateColumns: "84px minmax(120px, 190px) 1fr", gap: 12, padding: "5px 0", borderTop: "1px solid var(--line)", alignItems: "baseline" }}>
      <Text size="xs" c="dimmed" className="figures"><When at={event.created_at}>{moment(event.created_at).split(", ").at(-1)}</When></Text>
      <Text size="sm" fw={isMilestone(event.type) ? 600 : 400} className="cut" title={event.type}>{event.type}</Text>
      <Group gap={8} wrap="nowrap" justify="space-between" align="baseline">
        <Text size="sm" className="words" c="dimmed">{wordsOf(event)}</Text>
        {event.attempt !== null && event.attempt !== before?.attempt && <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>attempt {event.attempt}</Text>}
      </Group>
    </li>
  );
}

function isMilestone(type: string): boolean {
  return type.startsWith("job.") || type.startsWith("state") || type.endsWith(".published") || type.endsWith(".ready");
}

/** What goes with an event, as far as it is figures and short texts. */
export function wordsOf({ type, data }: Pick<JobEvent, "type" | "data">): string {
  if (type === "warning" && typeof data["message"] === "string") return data["message"];
  return Object.entries(data)
    .flatMap(([name, value]) => {
      const said = name.endsWith("_bytes") && typeof value === "number" ? bytes(value) : typeof value === "number" ? count(value) : typeof value === "string" ? (/^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 10)}…` : value) : typeof value === "boolean" ? String(value) : null;
      return said === null ? [] : [`${name.replace(/_bytes$/, "").replaceAll("_", " ")} ${said}`];
    })
    .join(" · ");
}
