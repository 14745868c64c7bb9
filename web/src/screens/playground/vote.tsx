/** One row asked through every template of its task: what each says, and what they come to. */

import { Card, Group, Stack, Table, Text } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ask, BASE } from "../../api/client";
import { rendering } from "../../api/queries";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { count, figure, percent } from "../../parts/numbers";
import type { Classified } from "./answers";
import { votesOf } from "./votes";

export interface Row {
  task: string;
  row: number;
}

export function Vote({ row: { task, row }, model }: { row: Row; model: string }) {
  const query = useQuery(rendering({ task, indices: [row] }));
  return (
    <Asked query={query} lines={4}>
      {({ data }) => {
        const asked = data.filter((shown) => shown.role === "answer" && shown.error == null && shown.choices.length > 1);
        if (asked.length === 0) return <Empty title={`No template of ${task} asks for a choice about row ${row}`} />;
        const right = asked[0]?.references ?? [];
        return <Votes task={task} row={row} model={model} right={right} asked={asked.map((shown) => ({ template: shown.template, prompt: shown.input ?? "", options: shown.choices }))} />;
      }}
    </Asked>
  );
}

function Votes({ task, row, model, right, asked }: { task: string; row: number; model: string; right: readonly string[]; asked: { template: number; prompt: string; options: readonly string[] }[] }) {
  const found = useQueries({
    queries: asked.map(({ prompt, options }) => ({
      queryKey: ["classify", model, prompt, options],
      // The prompt is whole: where the template shows its options, they stand in it.
      queryFn: async ({ signal }: { signal: AbortSignal }) => {
        const response = await ask(`${BASE}/classify`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model, prompt, options, options_in_prompt: false }), signal });
        return (await response.json()) as Classified;
      },
      staleTime: Infinity,
      retry: false,
    })),
  });
  const answers = found.flatMap(({ data }) => (data === undefined ? [] : [data]));
  const fault = found.find(({ error }) => error !== null)?.error;
  const votes = votesOf(answers);
  return (
    <Card data-vote>
      <Stack gap="sm">
        <Text size="sm" fw={600}>{model}: row {count(row)} of {task}, through {count(asked.length)} templates</Text>
        {fault != null && <ErrorCard error={fault} />}
        {votes.map((vote, index) => (
          <div key={vote.option} className="option">
            <Text size="sm" fw={index === 0 ? 700 : 400} className="words">{vote.option}{right.includes(vote.option) && <Text span size="xs" style={{ color: "var(--state-succeeded)" }}> right</Text>}</Text>
            <span className="track" aria-hidden="true"><span style={{ width: `${(100 * vote.chosen) / asked.length}%` }} /></span>
            <Text size="xs" className="figures nowrap" ta="right"><b>{count(vote.chosen)} of {count(answers.length)}</b> <Text span size="xs" c="dimmed">mean {percent(vote.probability)}</Text></Text>
          </div>
        ))}
        <div className="sheet">
          <Table verticalSpacing={4} style={{ minWidth: 420 }}>
            <Table.Thead><Table.Tr>{["Template", "Chose", "Leads by", "Option mass"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
            <Table.Tbody>
              {asked.map(({ template }, i) => {
                const answer = found[i]?.data;
                return (
                  <Table.Tr key={template}>
                    <Table.Td><Link className="row-link" to="/templates/$name" params={{ name: task }} search={{ template, row }}>template {template}</Link></Table.Td>
                    <Table.Td>{answer === undefined ? "…" : <Group gap={6}>{answer.choice}{right.includes(answer.choice) && <Text span size="xs" style={{ color: "var(--state-succeeded)" }}>right</Text>}</Group>}</Table.Td>
                    <Table.Td>{answer?.margin == null ? "" : `${figure(answer.margin, 3)} nats`}</Table.Td>
                    <Table.Td>{answer === undefined ? "" : percent(answer.option_mass, 2)}</Table.Td>
                  </Table.Tr>
                );
              })}
            </Table.Tbody>
          </Table>
        </div>
      </Stack>
    </Card>
  );
}
