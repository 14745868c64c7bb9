/** What a job came from and what came of it: base, run, models, evaluations and deployments. */

import { Group, Stack, Text } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Job } from "../../api/client";
import { jobs, models } from "../../api/queries";
import { Waiting } from "../../parts/asked";
import { State } from "../../parts/state";
import { subjectOf, tasksOf } from "./progress";

/** Chain of a job: boxes from left to right, below one another on a phone. */
export function Lineage({ job }: { job: Job }) {
  const made = job.models.map((each) => each.id);
  const usedHere = job.kind === "evaluate" || job.kind === "serve";
  const known = useQuery(models).data ?? [];
  const subject = subjectOf(job.spec).split(" on ")[0] ?? "";
  const maker = known.find((model) => model.id === subject || (model.name === subject.split("@")[0] && !subject.includes("@")))?.job_id;
  return (
    <Stack gap="sm">
      <div className="chain">
        {usedHere && maker != null && <><Box title="made by"><JobLink id={maker} name="its tune job" /></Box><Arrow /></>}
        <Box title={job.kind === "tune" ? "base" : "model"}><Name name={subject} isModel={known.some((model) => model.name === subject.split("@")[0])} /></Box>
        {tasksOf(job.spec) !== "" && <><Plus /><Box title={job.kind === "tune" ? "mixture" : "tasks"}><Text size="sm" className="words">{tasksOf(job.spec)}</Text></Box></>}
        <Arrow />
        <Box title={job.kind} isHere><Text size="sm" fw={600} className="words">{job.name}</Text><State state={job.state} /></Box>
        {made.length > 0 && <><Arrow /><Box title="models">{made.map((id) => <div key={id}><Name name={id} isModel /></div>)}</Box></>}
        {made.length > 0 && <><Arrow /><Box title="used by"><Users made={made} /></Box></>}
      </div>
      <Text size="xs" c="dimmed">Spec <span className="mono">{job.spec_digest.slice(0, 12)}…</span>: the same digest, the same job.</Text>
    </Stack>
  );
}

const MOST_USERS = 8;

/** Jobs that measure, serve or tune one of these models, whichever name their specs gave it. */
export function Users({ made }: { made: readonly string[] }) {
  const asked = useQueries({ queries: made.map((model) => jobs({ model, limit: MOST_USERS })) });
  const fault = asked.find(({ error }) => error !== null)?.error;
  if (fault != null) return <Text size="sm" c="dimmed">{fault.message}</Text>;
  if (asked.some(({ data }) => data === undefined)) return <Waiting lines={1} />;
  const found = asked.flatMap(({ data }) => data?.data ?? []);
  const hasMore = asked.some(({ data }) => data?.has_more === true);
  if (found.length === 0) return <Text size="sm" c="dimmed">nobody yet</Text>;
  return <>{found.map((job) => <Group key={job.id} gap={8} wrap="nowrap"><State state={job.state} size={12} /><JobLink id={job.id} name={`${job.kind} ${job.name}`} /></Group>)}{hasMore && <Text size="xs" c="dimmed">and older ones</Text>}</>;
}

function Box({ title, isHere = false, children }: { title: string; isHere?: boolean; children: ReactNode }) {
  return <div className={`chain-box ${isHere ? "here" : ""}`}><Text size="xs" c="dimmed">{title}</Text>{children}</div>;
}

function Arrow() {
  return <span className="chain-arrow" aria-hidden="true">→</span>;
}

function Plus() {
  return <span className="chain-arrow" aria-hidden="true">+</span>;
}

function JobLink({ id, name }: { id: string; name: string }) {
  return <Link className="row-link" to="/jobs/$jobId" params={{ jobId: id }} search={{}}><Text span size="sm" className="words">{name}</Text></Link>;
}

function Name({ name, isModel }: { name: string; isModel: boolean }) {
  const [plain = name, version] = name.split("@");
  if (!isModel) return <Text size="sm" className="words">{name}</Text>;
  return <Link className="row-link" to="/models/$name" params={{ name: plain }} search={version === undefined ? {} : { version }}><Text span size="sm" className="words">{name}</Text></Link>;
}
