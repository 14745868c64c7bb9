/** The data a run has seen: its first batch token by token, the mixture as asked and as it came out, which templates. */

import { Card, Group, SegmentedControl, Stack, Table, Text, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { ApiError, type Job, type JobEvent } from "../../api/client";
import type { Journal } from "../../api/journal";
import { mixturePreview, results } from "../../api/queries";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { Facts } from "../../parts/facts";
import { bytes, count, percent, UNKNOWN } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { Token, TokenLegend } from "../../parts/tokens";
import { isObject } from "./asked-spec";
import { countsOf, firstBatch, heat, rowsOf, type Composition, type FirstBatch, type Row, type Segment } from "./data-seen";

export function DataSeen({ job, journal }: { job: Job; journal: Journal }) {
  const isOver = job.state === "succeeded";
  const realised = useQuery({ ...results(job.id), retry: false, enabled: isOver, staleTime: Infinity });
  // Until a run has ended, what was asked is all there is.
  const mixture = job.spec["mixture"];
  const asked = useQuery({ ...mixturePreview({ mixture: isObject(mixture) ? mixture : {}, sample: 0 }), enabled: !isOver && isObject(mixture) });
  const batch = firstBatch(journal.events);
  const counts = countsOf(journal.progress ?? job.progress);
  return (
    <Stack gap="lg">
      {counts.length > 0 && <Card padding="sm"><Facts facts={counts.map(([name, value]) => [name, <span key={name} style={value > 0 && name !== "drawn" ? { color: "var(--state-paused)" } : undefined}>{count(value)}</span>])} /></Card>}
      <Told events={journal.events} />
      <Section title="The first batch">{batch === null ? <Empty title="Not told">A run tells its first batch when it takes its first step.</Empty> : <Batch batch={batch} />}</Section>
      <Section title="The mixture, as asked and as it came out">
        {isOver ? (
          realised.error instanceof ApiError && realised.error.status === 404 ? <Empty title="This run wrote no shares" /> : (
            <Asked query={realised}>{({ results: found }) => <Shares mixture={(found as { mixture: Composition }).mixture} />}</Asked>
          )
        ) : <Asked query={asked}>{(found) => <><Text size="sm" c="dimmed">What came out is told when the run has ended.</Text><Shares mixture={found} /></>}</Asked>}
      </Section>
    </Stack>
  );
}

/** What the run has said of its rows: shared text, dropped examples. */
function Told({ events }: { events: readonly JobEvent[] }) {
  const compared = events.findLast((event) => event.type === "leakage.checked" || event.type === "leakage.found");
  const warnings = events.filter((event) => event.type === "warning" && event.data["code"] === "examples_dropped");
  const packs = events.findLast((event) => event.type === "memory.planned")?.data;
  const told = compared?.data as { num_shared?: number; train_rows?: number; policy?: string; words?: number } | undefined;
  if (compared === undefined && warnings.length === 0 && packs === undefined) return null;
  return (
    <Stack gap={4}>
      {told?.train_rows !== undefined && <Text size="sm">{count(told.train_rows)} training rows were compared with what is held out: {told.num_shared === 0 ? "none" : count(told.num_shared)} shares a passage of {told.words} words{told.policy === "drop" && (told.num_shared ?? 0) > 0 ? ", and these were left out" : ""}.</Text>}
      {packs !== undefined && <Text size="sm" c="dimmed">Packs of {(packs["pack_lengths"] as number[] | undefined)?.map((length) => count(length)).join(" + ")} tokens, {count(Number(packs["micro_batch"]))} at a time; activations take {bytes(Number(packs["activations_bytes"]))}.</Text>}
      {warnings.map((event) => <Text key={event.seq} size="sm" className="caution words">{String(event.data["message"])}</Text>)}
    </Stack>
  );
}

function Batch({ batch }: { batch: FirstBatch }) {
  return (
    <Stack gap="xs">
      <Text size="sm" c="dimmed" className="figures">The first of {count(batch.packs)} packs: {count(batch.num_segments)} examples in one sequence, each apart from the others{batch.segments.length < batch.num_segments ? `; the first ${count(batch.segments.length)} are shown` : ""}. The loss of the step is the mean over {count(batch.target_tokens)} tokens.</Text>
      <TokenLegend />
      {batch.segments.map((segment, index) => <OneSegment key={index} segment={segment} number={index + 1} />)}
    </Stack>
  );
}

function OneSegment({ segment, number }: { segment: Segment; number: number }) {
  return (
    <div className="sheet" style={{ padding: "8px 12px", overflow: "hidden" }} data-segment={number}>
      <Text size="xs" c="dimmed" mb={4} className="figures">
        segment {number} · <Link className="row-link" to="/templates/$name" params={{ name: segment.task }} search={{ template: segment.template, row: segment.row, split: "train" }}>{segment.task}</Link> · row {count(segment.row)} · template {segment.template}{segment.has_shots ? " · solved rows before it" : ""}
      </Text>
      {segment.sides.map((side) => (
        <div key={side.side} className="tokens" style={{ border: 0, padding: 0 }} tabIndex={0} role="group" aria-label={`${side.side}: ${side.texts.join("")}`}>
          {side.ids.map((id, i) => <Token key={i} text={side.texts[i] ?? ""} id={id} part={side.loss_mask[i] === 1 ? "target" : "input"} isCounted={side.loss_mask[i] === 1} />)}
        </div>
      ))}
    </div>
  );
}

function Shares({ mixture }: { mixture: Composition }) {
  const [of, setOf] = useState<"clusters" | "tasks" | "parts">("clusters");
  const parts = Object.keys(mixture.parts).length;
  const shares = of === "tasks" ? Object.fromEntries(mixture.tasks.map((task) => [task.part === null ? task.name : `${task.part}/${task.name}`, task])) : mixture[of];
  return (
    <Stack gap="md">
      <Group gap="md">
        <SegmentedControl size="xs" aria-label="Shares of" value={of} onChange={(value) => setOf(value as typeof of)} data={[{ value: "clusters", label: "Clusters" }, { value: "tasks", label: "Tasks" }, ...(parts > 1 ? [{ value: "parts", label: "Parts" }] : [])]} />
        <Text size="xs" c="dimmed"><span className="share-key asked" /> asked <span className="share-key" /> came out</Text>
      </Group>
      <ShareTable rows={rowsOf(shares)} unit={mixture.unit ?? "tokens"} />
      <Templates mixture={mixture} />
    </Stack>
  );
}

function ShareTable({ rows, unit }: { rows: Row[]; unit: string }) {
  const most = Math.max(...rows.flatMap(({ asked, realised }) => [asked, realised ?? 0]), 1e-9);
  return (
    <div className="sheet" tabIndex={0}>
      <Table className="wide" verticalSpacing={4}>
        <Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th w="34%">Examples</Table.Th><Table.Th ta="right">asked</Table.Th><Table.Th ta="right">came out</Table.Th><Table.Th ta="right">{unit}, asked</Table.Th><Table.Th ta="right">came out</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {rows.map((row) => (
            <Table.Tr key={row.name}>
              <Table.Td>{row.name}</Table.Td>
              <Table.Td><span className="share" aria-hidden="true"><span className="asked" style={{ width: `${(100 * row.asked) / most}%` }} />{row.realised !== null && <span style={{ width: `${(100 * row.realised) / most}%` }} />}</span></Table.Td>
              <Table.Td ta="right">{percent(row.asked)}</Table.Td>
              <Table.Td ta="right">{row.realised === null ? UNKNOWN : percent(row.realised)}</Table.Td>
              <Table.Td ta="right">{percent(row.askedTokens)}</Table.Td>
              <Table.Td ta="right">{percent(row.realisedTokens)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}

/** Task by template: how often each was used; empty cells were not. */
function Templates({ mixture }: { mixture: Composition }) {
  const wide = Math.max(0, ...mixture.tasks.map((task) => task.templates.length));
  const used = (share: { examples: number; realised_examples?: number | null }) => share.realised_examples ?? share.examples;
  const most = Math.max(0, ...mixture.tasks.flatMap((task) => task.templates.map(used)));
  if (wide === 0) return null;
  return (
    <Section title="Use of templates">
      <div className="sheet">
        <Table verticalSpacing={2} style={{ minWidth: 160 + 44 * wide }}>
          <Table.Thead><Table.Tr><Table.Th>Task</Table.Th>{Array.from({ length: wide }, (_, i) => <Table.Th key={i} ta="center">{i}</Table.Th>)}</Table.Tr></Table.Thead>
          <Table.Tbody>
            {mixture.tasks.map((task) => (
              <Table.Tr key={`${task.part}/${task.name}`}>
                <Table.Td className="nowrap"><Link className="row-link" to="/templates/$name" params={{ name: task.name }} search={{}}>{task.name}</Link></Table.Td>
                {task.templates.map((share, i) => (
                  <Table.Td key={i} p={2}>
                    <Tooltip label={`${task.name}, template ${i}: asked ${percent(share.examples, 2)}, came out ${percent(share.realised_examples, 2)} of the examples`}>
                      <div className="heat figures" style={{ background: `color-mix(in srgb, var(--series-0) ${Math.round(32 * heat(used(share), most))}%, var(--surface))` }}>{percent(used(share)).replace(" %", "")}</div>
                    </Tooltip>
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
      <Text size="xs" c="dimmed">Percent of all examples, by the template’s number among those that are used.</Text>
    </Section>
  );
}
