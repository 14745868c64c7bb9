/** What is going on: what runs, what waits, what is served, what needs somebody. */

import { Card, Group, Progress, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Job, Node } from "../../api/client";
import { api, body } from "../../api/client";
import { jobs, nodes, served } from "../../api/queries";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { LinkButton } from "../../parts/links";
import { Icon } from "../../parts/icons";
import { bytes, count, percent } from "../../parts/numbers";
import { Page, Section } from "../../parts/page";
import { Sparkline } from "../../parts/sparkline";
import { State } from "../../parts/state";
import { Ago, useNow } from "../../parts/time";
import { progressOf, subjectOf, tasksOf } from "../job/progress";
import { FirstJob } from "../jobs/jobs";

const DAY_S = 86_400;
/** A disk of which less than this share is free needs somebody. */
const LITTLE = 0.05;

export function HomeScreen() {
  const all = useQuery(jobs({ limit: 1 }));
  const running = useQuery(jobs({ state: "running", limit: 20 }));
  const queued = useQuery(jobs({ state: "queued", limit: 5 }));
  const failed = useQuery(jobs({ state: "failed", limit: 5 }));
  const evaluated = useQuery(jobs({ state: "succeeded", kind: "evaluate", sweep: "none", limit: 5 }));
  const there = useQuery(nodes);
  const now = useNow();
  const attention = [
    ...(there.data ?? []).filter((node) => node.is_here && node.disk !== null && node.disk.free_bytes < LITTLE * node.disk.size_bytes).map((node) => ({ key: `${node.id}/disk`, text: <>The disk of node <b>{node.id}</b> is nearly full: {bytes(node.disk?.free_bytes)} are free</> })),
    ...(there.data ?? []).filter((node) => !node.is_here).map((node) => ({ key: node.id, text: <>Node <b>{node.id}</b> has not been heard of since <Ago at={node.seen_at} /></> })),
    ...(failed.data?.data ?? []).filter((job) => now - (job.finished_at ?? 0) < DAY_S).map((job) => ({
      key: job.id,
      text: <><Link className="row-link" to="/jobs/$jobId" params={{ jobId: job.id }} search={{}}>{job.name}</Link> failed <Ago at={job.finished_at} />: {job.error?.message}</>,
    })),
  ];
  const work = (running.data?.data ?? []).filter((job) => job.kind !== "serve");
  return (
    <Page title="Home" actions={<LinkButton to="/new-job" leftSection={<Icon name="plus" size={16} />}>New job</LinkButton>}>
      {attention.length > 0 && (
        <Card style={{ borderLeft: "3px solid var(--state-failed)" }}>
          <Text fw={600} size="sm" mb={4}>Needs attention</Text>
          <Stack gap={4}>{attention.map(({ key, text }) => <Text key={key} size="sm" className="words">{text}</Text>)}</Stack>
        </Card>
      )}
      <Section title="Running">
        <Asked query={running} lines={2}>
          {() => work.length > 0 ? (
            <SimpleGrid cols={{ base: 1, md: 2, xl: 3 }}>{work.map((job) => <RunningCard key={job.id} job={job} />)}</SimpleGrid>
          ) : all.data?.data.length === 0 ? <FirstJob /> : <Text size="sm" c="dimmed">Nothing runs now.</Text>}
        </Asked>
      </Section>
      <SimpleGrid cols={{ base: 1, md: 2, xl: 3 }} spacing="lg" verticalSpacing="lg">
        <Section title="Queue" aside={<More search={{ state: "queued" as const }} />}>
          <Asked query={queued} lines={2}>{({ data }) => <JobLines jobs={data} none="Nobody waits." note={(job) => job.queue?.reason ?? (job.queue == null ? "" : `needs ${count(job.queue.needs)}, ${count(job.queue.free)} free`)} />}</Asked>
        </Section>
        <Section title="Served models"><Served /></Section>
        <Section title="Last evaluations" aside={<More search={{ kind: "evaluate" as const }} />}>
          <Asked query={evaluated} lines={2}>{({ data }) => <JobLines jobs={data} none="None has ended yet." note={(job) => `${subjectOf(job.spec)} · ${tasksOf(job.spec)}`} />}</Asked>
        </Section>
        <Section title="Nodes"><Asked query={there} lines={2}>{(found) => <Nodes nodes={found} />}</Asked></Section>
      </SimpleGrid>
    </Page>
  );
}

function More({ search }: { search: { state?: "queued"; kind?: "evaluate" } }) {
  return <Link to="/jobs" search={search} className="row-link"><Text span size="xs" c="dimmed">all</Text></Link>;
}

function RunningCard({ job }: { job: Job }) {
  const progress = progressOf(job, job.progress);
  const loss = useQuery({
    queryKey: ["spark", job.id],
    queryFn: () => body(api.GET("/jobs/{job_id}/metrics", { params: { path: { job_id: job.id }, query: { name: "train/smoothed_loss", thin_to: 240 } } })),
    enabled: job.kind === "tune",
    refetchInterval: 10_000,
  });
  const points = loss.data?.data ?? [];
  return (
    <Card padding="sm" aria-busy={loss.isLoading}>
      <Group justify="space-between" wrap="nowrap" align="flex-start">
        <div style={{ minWidth: 0 }}>
          <Link className="row-link" to="/jobs/$jobId" params={{ jobId: job.id }} search={{}}>{job.name}</Link>
          <Text size="xs" c="dimmed" className="cut">{job.kind} · {subjectOf(job.spec)}</Text>
        </div>
        {job.kind === "tune" ? <Sparkline steps={points.map((point) => point.step)} values={points.map((point) => point.value)} label="Loss over steps" /> : <State state={job.state} />}
      </Group>
      <Text size="xs" mt={8} mb={4} className="figures">{progress?.words ?? job.stage ?? "starting"}</Text>
      <Progress size={5} value={100 * (progress?.share ?? 0)} aria-label={`Progress of ${job.name}`} />
    </Card>
  );
}

function JobLines({ jobs: shown, none, note }: { jobs: readonly Job[]; none: string; note: (job: Job) => string }) {
  if (shown.length === 0) return <Text size="sm" c="dimmed">{none}</Text>;
  return (
    <Card padding="xs">
      {shown.map((job) => (
        <Group key={job.id} justify="space-between" wrap="nowrap" py={4} px={6}>
          <div style={{ minWidth: 0 }}>
            <Link className="row-link" to="/jobs/$jobId" params={{ jobId: job.id }} search={{}}>{job.name}</Link>
            <Text size="xs" c="dimmed" className="cut">{note(job)}</Text>
          </div>
          <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}><Ago at={job.finished_at ?? job.created_at} /></Text>
        </Group>
      ))}
    </Card>
  );
}

function Served() {
  const query = useQuery(served);
  return (
    <Asked query={query} lines={2}>
      {(names) => names.length === 0 ? <Empty title="No model is served">Serve one from the page of a <Link to="/models">model</Link>.</Empty> : (
        <Card padding="xs">
          {names.map((name) => (
            <Group key={name} justify="space-between" py={4} px={6} wrap="nowrap">
              <Text size="sm" fw={600} className="cut">{name}</Text>
              <LinkButton to="/playground" search={{ model: name }} size="compact-xs" variant="default">Ask it</LinkButton>
            </Group>
          ))}
        </Card>
      )}
    </Asked>
  );
}

function DiskLine({ disk }: { disk: NonNullable<Node["disk"]> }) {
  return <Text size="xs" c="dimmed" mt={6} className="figures">Disk: {bytes(disk.free_bytes)} of {bytes(disk.size_bytes)} free</Text>;
}

export function Nodes({ nodes: found }: { nodes: readonly Node[] }) {
  if (found.length === 0) return <Empty title="No node is here" code="flan up                # API and worker on this machine&#10;python -m workers      # one more worker elsewhere">Jobs wait until a worker says that it is there.</Empty>;
  return (
    <Stack gap="xs">
      {found.map((node) => {
        const isGpu = node.gpus.length > 0;
        const [all, free] = isGpu ? [node.gpus.length, node.gpus.filter((gpu) => gpu.is_free).length] : [node.cpu_slots, node.free_cpu_slots];
        return (
          <Card key={node.id} padding="sm">
            <Group justify="space-between" wrap="nowrap">
              <Text size="sm" fw={600} className="cut">{node.id}</Text>
              <Text size="xs" c="dimmed">{node.is_here ? "here" : <>gone, seen <Ago at={node.seen_at} /></>}</Text>
            </Group>
            <Text size="xs" mt={6} mb={4} className="figures">{count(all - free)} of {count(all)} {isGpu ? "GPUs" : "CPU slots"} in use</Text>
            <Progress size={5} value={all === 0 ? 0 : (100 * (all - free)) / all} aria-label={`${percent(all === 0 ? 0 : (all - free) / all, 0)} of ${node.id} in use`} />
            {node.disk !== null && <DiskLine disk={node.disk} />}
            {node.gpus.map((gpu) => <Text key={gpu.uuid} size="xs" c="dimmed" mt={4}>{gpu.name}, {bytes(gpu.memory_bytes)}, {gpu.is_free ? "free" : "in use"}</Text>)}
          </Card>
        );
      })}
    </Stack>
  );
}
