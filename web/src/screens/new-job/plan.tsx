/** What a job would do, in figures: the answer of a dry run. */

import { Card, Group, List, Loader, Stack, Table, Text } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Plan } from "../../api/client";
import { ErrorCard } from "../../parts/errors";
import { Facts } from "../../parts/facts";
import { bytes, count, duration, many, percent, short } from "../../parts/numbers";

type TunePlan = Extract<Plan["plan"], { tasks?: unknown }>;

export function PlanCard({ plan, isOld }: { plan: UseQueryResult<Plan, Error>; isOld: boolean }) {
  if (plan.error !== null) return <ErrorCard error={plan.error} />;
  if (plan.data === undefined) return <Card aria-busy><Group gap="sm"><Loader size="xs" /><Text size="sm">Working out what it would do …</Text></Group></Card>;
  const found = plan.data.plan;
  return (
    <Card aria-busy={isOld} data-plan>
      <Stack gap="sm">
        <Group justify="space-between"><Text fw={600}>What it would do</Text>{isOld && <Loader size="xs" aria-label="Working it out anew" />}</Group>
        {"children" in found ? <SweepFacts children_={(found as { children: readonly unknown[] }).children} /> : <JobFacts plan={found as TunePlan} estimate={plan.data.estimate ?? null} />}
        {found.warnings !== undefined && found.warnings.length > 0 && (
          <div style={{ borderLeft: "3px solid var(--state-paused)", paddingLeft: 10 }}>
            <Text size="sm" fw={600}>Mind</Text>
            <List size="sm" spacing={2}>{found.warnings.map((warning) => <List.Item key={warning} className="words">{warning}</List.Item>)}</List>
          </div>
        )}
      </Stack>
    </Card>
  );
}

function SweepFacts({ children_ }: { children_: readonly unknown[] }) {
  const jobs = children_ as { name: string; kind: string; reuses?: string | null }[];
  const reused = jobs.filter((job) => job.reuses != null).length;
  return <Facts facts={[["Jobs", count(jobs.length)], ["Done already", count(reused)], ["To tune", count(jobs.filter((job) => job.kind === "tune").length)], ["To evaluate", count(jobs.filter((job) => job.kind === "evaluate").length)]]} />;
}

function JobFacts({ plan, estimate }: { plan: TunePlan; estimate: Plan["estimate"] | null }) {
  const tasks = plan.tasks ?? [];
  const rates = Object.entries(plan.cluster_rates ?? {}).sort(([, one], [, other]) => other - one);
  const excluded = Object.entries(plan.excluded ?? {});
  const missing = Object.entries(plan.missing ?? {});
  const rows = tasks.reduce((sum, task) => sum + task.num_used, 0);
  return (
    <Stack gap="sm">
      <Facts
        facts={[
          ...(plan.steps == null ? [] : [["Steps", count(plan.steps)] as [string, string]]),
          ...(plan.token_slots == null ? [] : [["Tokens, padding included", short(plan.token_slots)] as [string, string]]),
          ...(plan.token_slots_per_step == null ? [] : [["Tokens a step", `${count(plan.token_slots_per_step)} (${count(plan.packs_per_step)} packs of ${count(plan.pack_length)})`] as [string, string]]),
          ...(estimate == null ? [] : [["Time, as fast as a job like it", <Link key="like" to="/jobs/$jobId" params={{ jobId: estimate.job_id }} search={{}}>{duration(estimate.seconds)}</Link>] as [string, ReactNode]]),
          ...(plan.memory_bytes_per_rank == null ? [] : [["Memory of a rank, at least", bytes(plan.memory_bytes_per_rank)] as [string, string]]),
          ...(plan.disk_bytes == null ? [] : [["Disk at most", bytes(plan.disk_bytes)] as [string, string]]),
          ...(tasks.length === 0 ? [] : [["Tasks", count(tasks.length)], ["Rows", count(rows)]] as [string, string][]),
        ]}
      />
      {tasks.length === 0 && plan.kind === "serve" && <Text size="sm" c="dimmed">It loads the model and answers until it is undeployed.</Text>}
      {rates.length > 0 && (
        <Stack gap={3}>
          <Text size="xs" c="dimmed">Share of the training examples, by cluster</Text>
          {rates.map(([cluster, rate]) => (
            <div key={cluster} style={{ display: "grid", gridTemplateColumns: "minmax(90px, 170px) 1fr 56px", gap: 8, alignItems: "center" }}>
              <Text size="xs" className="cut">{cluster}</Text>
              <div style={{ height: 7, background: "var(--soft)", borderRadius: 4 }}><div style={{ width: `${100 * rate}%`, height: "100%", background: "var(--accent)", borderRadius: 4 }} /></div>
              <Text size="xs" ta="right" className="figures">{percent(rate)}</Text>
            </div>
          ))}
        </Stack>
      )}
      {excluded.length > 0 && <Named title={`${many(excluded.length, "task")} left out`} rows={excluded} />}
      {missing.length > 0 && <Named title={`${many(missing.length, "task")} not on this machine`} rows={missing.map(([task, share]) => [task, share === null ? "their share is not known" : percent(share)])} />}
      {Object.keys(plan.not_compared ?? {}).length > 0 && <Named title="Cannot be compared with the training rows" rows={Object.entries(plan.not_compared ?? {})} />}
      {Object.keys(plan.compared ?? {}).length > 0 && <Text size="xs" c="dimmed">Training rows are compared with {count(Object.values(plan.compared ?? {}).reduce((sum, rows_) => sum + rows_, 0))} held-out rows before the first step; what they share is left out and counted.</Text>}
    </Stack>
  );
}

function Named({ title, rows }: { title: string; rows: [string, string][] }) {
  return (
    <details>
      <summary style={{ cursor: "pointer" }}><Text span size="sm">{title}</Text></summary>
      <Table verticalSpacing={3} mt={4}><Table.Tbody>{rows.map(([name, why]) => <Table.Tr key={name}><Table.Td>{name}</Table.Td><Table.Td c="dimmed" className="words">{why}</Table.Td></Table.Tr>)}</Table.Tbody></Table>
    </details>
  );
}
