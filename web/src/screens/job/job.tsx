/** One job: how it stands, what it is doing, what it left behind. */

import { Button, Card, Group, Menu, Progress, Stack, Tabs, Text, Tooltip } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState, type ReactNode } from "react";
import type { Job } from "../../api/client";
import { useJob, useJournal, type Journal } from "../../api/journal";
import { useMay } from "../../app/session";
import { jobRoute } from "../../app/router";
import { Asked, Waiting } from "../../parts/asked";
import { Copy } from "../../parts/code";
import { Confirm } from "../../parts/confirm";
import { Facts } from "../../parts/facts";
import { LinkButton, LinkItem } from "../../parts/links";
import { Icon } from "../../parts/icons";
import { count, many, UNKNOWN } from "../../parts/numbers";
import { Page } from "../../parts/page";
import { State } from "../../parts/state";
import { Ago, Lasted } from "../../parts/time";
import { ENDED } from "../../api/words";
import { Checkpoints } from "./checkpoints";
import { Children } from "./children";
import { FailureCard } from "./failure";
import { progressOf, subjectOf, tasksOf } from "./progress";
import { Results } from "./results";
import { Timeline } from "./timeline";
import { EFFECTS, useVerb, verbsFor, type Verb } from "./verbs";

const Charts = lazy(() => import("./charts").then(({ Charts }) => ({ default: Charts })));
const DataSeen = lazy(() => import("./data").then(({ DataSeen }) => ({ default: DataSeen })));
const Lineage = lazy(() => import("./lineage").then(({ Lineage }) => ({ default: Lineage })));
const Logs = lazy(() => import("./logs").then(({ Logs }) => ({ default: Logs })));
const Configuration = lazy(() => import("./configuration").then(({ Configuration }) => ({ default: Configuration })));

export function JobScreen() {
  const { jobId } = jobRoute.useParams();
  const query = useJob(jobId);
  return (
    <Asked query={query} lines={6}>
      {(job) => <Shown key={job.id} job={job} />}
    </Asked>
  );
}

function Shown({ job }: { job: Job }) {
  const journal = useJournal(job);
  const { tab } = jobRoute.useSearch();
  const navigate = jobRoute.useNavigate();
  const tabs = tabsOf(job, journal);
  const current = tabs.some(([name]) => name === tab) ? tab : tabs[0]?.[0];
  return (
    <Page
      title={job.name}
      about={
        <Group gap={8} mt={2}>
          <State state={job.state} />
          <span>{job.kind}</span>
          {job.stage !== null && <span>· {job.stage}</span>}
          <Group gap={2} wrap="nowrap"><span className="mono">{job.id}</span><Copy text={job.id} label="Copy the id" /></Group>
          <ConnectionNote journal={journal} job={job} />
        </Group>
      }
      actions={<Actions job={job} />}
    >
      {job.error !== null && <FailureCard failure={job.error} job={job} />}
      <Summary job={job} journal={journal} />
      <Tabs
        value={current ?? null}
        onChange={(name) => void navigate({ search: (now) => ({ ...now, tab: name ?? undefined }), replace: true })}
        keepMounted={false}
      >
        <Tabs.List mb="md">
          {tabs.map(([name, label]) => <Tabs.Tab key={name} value={name}>{label}</Tabs.Tab>)}
        </Tabs.List>
        {tabs.map(([name, , panel]) => (
          <Tabs.Panel key={name} value={name}>
            <Suspense fallback={<Waiting />}>{panel}</Suspense>
          </Tabs.Panel>
        ))}
      </Tabs>
    </Page>
  );
}

function tabsOf(job: Job, journal: Journal): [name: string, label: string, panel: ReactNode][] {
  const all: [string, string, ReactNode, boolean][] = [
    ["charts", "Charts", <Charts job={job} journal={journal} />, job.kind !== "sweep" && job.kind !== "evaluate"],
    ["children", "Jobs of the sweep", <Children job={job} />, job.kind === "sweep"],
    ["results", "Results", <Results job={job} />, job.kind === "evaluate"],
    ["data", "Data seen", <DataSeen job={job} journal={journal} />, job.kind === "tune"],
    ["timeline", "Timeline", <Timeline job={job} journal={journal} />, true],
    ["logs", "Logs", <Logs job={job} />, job.kind !== "sweep"],
    ["checkpoints", "Checkpoints", <Checkpoints job={job} />, job.kind === "tune"],
    ["lineage", "Lineage", <Lineage job={job} />, job.kind !== "sweep"],
    ["configuration", "Configuration", <Configuration job={job} />, true],
  ];
  return all.filter(([, , , isShown]) => isShown).map(([name, label, panel]) => [name, label, panel]);
}

/** Whether what is shown is of this moment. */
function ConnectionNote({ journal, job }: { journal: Journal; job: Job }) {
  if (journal.error !== null) return <Text span size="sm" style={{ color: "var(--state-failed)" }}>· not followed: reload the page</Text>;
  if (ENDED.has(job.state) || journal.connection === "ended") return null;
  const said = { connecting: "connecting …", live: "live", waiting: "connection lost, trying again …", ended: "" }[journal.connection];
  return <Text span size="sm" aria-live="polite" data-connection={journal.connection}>· {said}</Text>;
}

function Summary({ job, journal }: { job: Job; journal: Journal }) {
  const told = ENDED.has(job.state) ? job.progress : (journal.progress ?? job.progress);
  const progress = progressOf(job, told);
  const subject = subjectOf(job.spec);
  return (
    <Card>
      <Stack gap="sm">
        {progress !== null && (
          <Stack gap={5}>
            <Group justify="space-between" gap="xs">
              <Text size="sm" className="figures" data-progress>{progress.words}</Text>
              {progress.share !== null && <Text size="sm" fw={600} className="figures">{Math.floor(100 * progress.share)} %</Text>}
            </Group>
            {progress.share !== null && <Progress value={100 * progress.share} aria-label="Progress" size="sm" color={job.state === "failed" ? "red.8" : "violet"} />}
          </Stack>
        )}
        {job.queue !== null && job.queue !== undefined && (
          <Text size="sm">
            {job.queue.ahead === 0 ? "The next in the queue" : `${count(job.queue.ahead)} jobs were handed in before it`}. It needs {many(job.queue.needs, "slot")} on one node; the most free now is {count(job.queue.free)}.
            {job.queue.reason == null ? "" : ` ${job.queue.reason}`}
          </Text>
        )}
        <Facts
          facts={[
            ...(job.kind === "sweep" && subject === "" ? [] : [[job.kind === "tune" ? "Base" : job.kind === "sweep" ? "Preset" : "Model", subject === "" ? UNKNOWN : subject] as [string, ReactNode]]),
            ...(tasksOf(job.spec) === "" ? [] : [["Tasks", tasksOf(job.spec)] as [string, ReactNode]]),
            ["Handed in", <Ago at={job.created_at} />],
            ["Ran for", <Lasted from={job.started_at} to={job.finished_at} />],
            ...(job.kind === "sweep" ? [] : [["Attempt", job.attempt === 0 ? "not started" : count(job.attempt)] as [string, ReactNode]]),
            ...(job.models.length === 0 ? [] : [["Models made", job.models.map((made) => (
              <div key={made.id}><Link to="/models/$name" params={{ name: made.id.split("@")[0] ?? "" }} search={{ version: made.id.split("@")[1] }} className="row-link">{made.id}</Link> {made.role}</div>
            ))] as [string, ReactNode]]),
            ...(job.sweep === null ? [] : [["Of the sweep", <Link to="/jobs/$jobId" params={{ jobId: job.sweep }} search={{}} className="row-link mono">{job.sweep.slice(0, 12)}…</Link>] as [string, ReactNode]]),
            ...(job.needs === null ? [] : [["Starts from the model of", <Link to="/jobs/$jobId" params={{ jobId: job.needs }} search={{}} className="row-link mono">{job.needs.slice(0, 12)}…</Link>] as [string, ReactNode]]),
          ]}
        />
      </Stack>
    </Card>
  );
}

export function Actions({ job }: { job: Job }) {
  const mayWrite = useMay("jobs:write");
  const { mutate, isPending } = useVerb();
  const [asked, setAsked] = useState<Verb | null>(null);
  const verbs = verbsFor(job);
  const clone = (
    <LinkButton to="/new-job" search={{ from: job.id }} variant="default" leftSection={<Icon name="copy" size={16} />}>Clone</LinkButton>
  );
  if (!mayWrite) return <Tooltip label="Your key may only read jobs."><Text size="sm" c="dimmed">read only</Text></Tooltip>;
  return (
    <>
      {job.models.length > 0 && job.state === "succeeded" && (
        <Menu>
          <Menu.Target><Button variant="default" rightSection={<Icon name="down" size={14} />}>Use the model</Button></Menu.Target>
          <Menu.Dropdown>
            {job.models.map((made) => (
              <div key={made.id}>
                <LinkItem to="/new-job" search={{ kind: "serve", model: made.id }}>Serve {made.id}</LinkItem>
                <LinkItem to="/new-job" search={{ kind: "evaluate", model: made.id }}>Evaluate {made.id}</LinkItem>
              </div>
            ))}
          </Menu.Dropdown>
        </Menu>
      )}
      {clone}
      {verbs.map((verb) => (
        <Button key={verb} variant={verb === "cancel" ? "outline" : "filled"} color={verb === "cancel" ? "red.8" : "violet"} tt="capitalize"
          styles={verb === "cancel" ? { root: { color: "var(--state-failed)", borderColor: "var(--state-failed)" } } : {}}
          loading={isPending} onClick={() => (verb === "cancel" ? setAsked(verb) : mutate({ id: job.id, verb }))} title={EFFECTS[verb]}>
          {verb === "cancel" && job.kind === "serve" ? "undeploy" : verb}
        </Button>
      ))}
      <Confirm
        title={job.kind === "serve" ? `Undeploy ${job.name}?` : `Cancel ${job.name}?`} act={job.kind === "serve" ? "Undeploy" : "Cancel the job"}
        isOpen={asked === "cancel"} isBusy={isPending} onClose={() => setAsked(null)}
        onAct={() => mutate({ id: job.id, verb: "cancel" }, { onSettled: () => setAsked(null) })}
      >
        {job.kind === "sweep" ? "The jobs of the sweep are cancelled with it; one that another sweep waits for goes on. " : ""}{EFFECTS.cancel}
      </Confirm>
    </>
  );
}

