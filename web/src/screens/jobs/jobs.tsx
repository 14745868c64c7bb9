/** Every job: find, compare, stop and start. */

import { ActionIcon, Anchor, Button, Checkbox, Group, Menu, Progress, Select, Stack, Table, Text, TextInput, useMatches } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Fragment, useRef, useState } from "react";
import type { Job } from "../../api/client";
import { jobs } from "../../api/queries";
import { JOB_KINDS, JOB_STATES } from "../../api/words";
import { jobsRoute } from "../../app/router";
import { useMay } from "../../app/session";
import { Asked } from "../../parts/asked";
import { Confirm } from "../../parts/confirm";
import { Empty } from "../../parts/empty";
import { LinkButton, LinkItem } from "../../parts/links";
import { Icon } from "../../parts/icons";
import { count, duration, many } from "../../parts/numbers";
import { Page } from "../../parts/page";
import { State } from "../../parts/state";
import { Ago, Lasted, useNow } from "../../parts/time";
import { Children } from "../job/children";
import { progressOf, subjectOf, tasksOf } from "../job/progress";
import { EFFECTS, useVerb, verbsFor, type Verb } from "../job/verbs";

const PER_PAGE = 50;
/** A job says that it lives every few seconds. */
const LATE_S = 60;

export function JobsScreen() {
  const search = jobsRoute.useSearch();
  const navigate = jobsRoute.useNavigate();
  const isFiltered = search.state !== undefined || search.kind !== undefined || search.find !== undefined;
  // A sweep stands for the jobs it handed in, until somebody looks for some of them.
  const query = useQuery(jobs({ ...search, ...(isFiltered ? {} : { sweep: "none" }), limit: PER_PAGE }));
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const filter = (change: Partial<typeof search>) => void navigate({ search: (now) => ({ ...now, after: undefined, ...change }), replace: true });
  return (
    <Page title="Jobs" actions={<LinkButton to="/new-job" leftSection={<Icon name="plus" size={16} />}>New job</LinkButton>}>
      <Stack gap="sm">
        <Group gap="sm" align="flex-end">
          <Select label="State" size="xs" w={150} clearable placeholder="any" data={[...JOB_STATES]} value={search.state ?? null} clearButtonProps={{ "aria-label": "Any state" }}
            onChange={(state) => filter({ state: JOB_STATES.find((each) => each === state) })} />
          <Select label="Kind" size="xs" w={130} clearable placeholder="any" data={[...JOB_KINDS]} value={search.kind ?? null} clearButtonProps={{ "aria-label": "Any kind" }}
            onChange={(kind) => filter({ kind: JOB_KINDS.find((each) => each === kind) })} />
          <Find find={search.find} onChange={(find) => filter({ find })} />
          {isFiltered && <Button size="xs" variant="subtle" onClick={() => filter({ state: undefined, kind: undefined, find: undefined })}>Show all</Button>}
          <Group gap="xs" ml="auto">
            {chosen.size > 0 && <Text size="xs" c="dimmed">{chosen.size} selected</Text>}
            <Button size="xs" variant="default" disabled={chosen.size < 2} onClick={() => void navigate({ to: "/compare", search: { jobs: [...chosen].join(",") } })}>Compare</Button>
          </Group>
        </Group>
        <Asked query={query} lines={8}>
          {(page) =>
            page.data.length === 0 ? (
              isFiltered ? <Empty title="No job fits">Take a filter away, or look for another part of a name.</Empty> : <FirstJob />
            ) : (
              <>
                <JobTable jobs={page.data} chosen={chosen} onChoose={setChosen} />
                <Group justify="space-between">
                  {search.after === undefined ? <span /> : <Anchor component="button" type="button" size="sm" onClick={() => filter({ after: undefined })}>Newest</Anchor>}
                  {page.has_more && <Button size="xs" variant="default" onClick={() => void navigate({ search: (now) => ({ ...now, after: page.last_id ?? undefined }) })}>Older</Button>}
                </Group>
              </>
            )
          }
        </Asked>
      </Stack>
    </Page>
  );
}

function Find({ find, onChange }: { find: string | undefined; onChange: (find: string | undefined) => void }) {
  const [text, setText] = useState(find ?? "");
  const told = useRef(find);
  const tell = useDebouncedCallback((wanted: string) => {
    told.current = wanted.trim() || undefined;
    onChange(told.current);
  }, 300);
  // The address was changed elsewhere: by going back, say.
  if (told.current !== find) {
    told.current = find;
    setText(find ?? "");
  }
  return (
    <TextInput label="Name" size="xs" placeholder="part of a name" value={text} w={200} leftSection={<Icon name="search" size={14} />}
      onChange={(event) => { setText(event.currentTarget.value); tell(event.currentTarget.value); }} />
  );
}

export function FirstJob() {
  return (
    <Empty title="No job yet" code={'flan jobs create -f - <<END\nkind: tune\nname: first\nbase: preset:nano\nmixture: {collection: synthetic, tasks: ["*"], hold_out: {clusters: [entailment]}}\nsteps: 200\nEND\n\nflan demo-data      # or some of every kind, to look around'}>
      A job tunes a model, evaluates one, serves one, or sweeps over many. <Anchor component={Link} to="/new-job" size="sm" underline="always">Make one here</Anchor>, or from a shell:
    </Empty>
  );
}

export function JobTable({ jobs: shown, chosen, onChoose }: { jobs: readonly Job[]; chosen?: ReadonlySet<string>; onChoose?: (chosen: ReadonlySet<string>) => void }) {
  const isNarrow = useMatches({ base: true, sm: false });
  const [unfolded, setUnfolded] = useState<ReadonlySet<string>>(new Set());
  const unfold = (id: string) => setUnfolded((now) => { const next = new Set(now); if (!next.delete(id)) next.add(id); return next; });
  const toggle = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    onChoose?.(next);
  };
  return (
    <div className="sheet">
      <Table style={{ minWidth: isNarrow ? 480 : 820 }} layout="fixed" highlightOnHover>
        <Table.Thead>
          <Table.Tr>
            {onChoose !== undefined && <Table.Th w={44}><span className="mantine-visually-hidden" /></Table.Th>}
            <Table.Th w={128}>State</Table.Th><Table.Th>Job</Table.Th>{!isNarrow && <Table.Th>Of</Table.Th>}<Table.Th w={isNarrow ? 130 : 190}>Progress</Table.Th>
            {!isNarrow && <><Table.Th w={116}>Handed in</Table.Th><Table.Th w={96}>Ran for</Table.Th></>}<Table.Th w={52} aria-label="Actions" />
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {shown.map((job) => (
            <Fragment key={job.id}>
            <Table.Tr>
              {onChoose !== undefined && <Table.Td><Checkbox size="xs" aria-label={`Select ${job.name}`} checked={chosen?.has(job.id) ?? false} onChange={() => toggle(job.id)} /></Table.Td>}
              <Table.Td><State state={job.state} /><Heard at={job.heard_at} /></Table.Td>
              <Table.Td>
                <Group gap={4} wrap="nowrap">
                  <div className="cut"><Link className="row-link" to="/jobs/$jobId" params={{ jobId: job.id }} search={{}} title={job.name}>{job.name}</Link></div>
                  {job.kind === "sweep" && (
                    <ActionIcon variant="subtle" color="gray" size="sm" aria-expanded={unfolded.has(job.id)} aria-label={`Jobs of the sweep ${job.name}`} onClick={() => unfold(job.id)}>
                      <Icon name={unfolded.has(job.id) ? "down" : "right"} size={14} />
                    </ActionIcon>
                  )}
                </Group>
                <Text size="xs" c="dimmed">{job.kind}{job.attempt > 1 ? ` · attempt ${job.attempt}` : ""}</Text>
              </Table.Td>
              {!isNarrow && <Table.Td>
                <div className="cut" title={subjectOf(job.spec)}>{subjectOf(job.spec)}</div>
                <Text size="xs" c="dimmed" className="cut" title={tasksOf(job.spec)}>{tasksOf(job.spec)}</Text>
              </Table.Td>}
              <Table.Td><JobProgress job={job} /></Table.Td>
              {!isNarrow && <>
                <Table.Td><Ago at={job.created_at} /></Table.Td>
                <Table.Td style={{ whiteSpace: "nowrap" }}><Lasted from={job.started_at} to={job.finished_at} /></Table.Td>
              </>}
              <Table.Td><RowMenu job={job} /></Table.Td>
            </Table.Tr>
            {unfolded.has(job.id) && <Table.Tr><Table.Td colSpan={(isNarrow ? 4 : 7) + (onChoose === undefined ? 0 : 1)} bg="var(--soft)"><Children job={job} /></Table.Td></Table.Tr>}
            </Fragment>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}

/** When a running job was last heard of; after a minute, something is wrong. */
function Heard({ at }: { at: number | null }) {
  const now = useNow();
  if (at === null) return null;
  return <Text size="xs" style={{ color: now - at > LATE_S ? "var(--state-paused)" : "var(--mantine-color-dimmed)" }}>heard <Ago at={at} /></Text>;
}

function JobProgress({ job }: { job: Job }) {
  if (job.state === "failed" && job.error !== null) return <Text size="xs" className="cut" title={job.error.message} style={{ color: "var(--state-failed)" }}>{job.error.message}</Text>;
  if (job.queue != null) {
    return <Text size="xs" c="dimmed">{job.queue.ahead === 0 ? "the next" : `${count(job.queue.ahead)} before it`} · {job.queue.reason ?? `needs ${many(job.queue.needs, "slot")}, ${count(job.queue.free)} free`}</Text>;
  }
  const progress = progressOf(job, job.progress);
  if (progress === null) return job.stage === null ? null : <Text size="xs" c="dimmed">{job.stage}</Text>;
  const isRunning = job.state === "running" || job.state === "pausing" || job.state === "cancelling";
  return (
    <Stack gap={3}>
      <Text size="xs" className="figures cut" title={progress.words}>{progress.words.split(" · ").filter((part) => !part.endsWith("left")).join(" · ")}{isRunning && progress.etaS !== null && progress.etaS > 0 ? ` · ${duration(progress.etaS).split(" ").slice(0, 2).join(" ")}` : ""}</Text>
      {isRunning && progress.share !== null && <Progress size={4} value={100 * progress.share} aria-label={`Progress of ${job.name}`} />}
    </Stack>
  );
}

function RowMenu({ job }: { job: Job }) {
  const mayWrite = useMay("jobs:write");
  const { mutate, isPending } = useVerb();
  const [isAsked, setAsked] = useState(false);
  const act = (verb: Verb) => (verb === "cancel" ? setAsked(true) : mutate({ id: job.id, verb }));
  return (
    <>
      <Menu>
        <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label={`Actions for ${job.name}`}><Icon name="dots" size={16} /></ActionIcon></Menu.Target>
        <Menu.Dropdown>
          <LinkItem to="/new-job" search={{ from: job.id }}>Clone</LinkItem>
          {mayWrite && verbsFor(job).map((verb) => <Menu.Item key={verb} tt="capitalize" onClick={() => act(verb)} title={EFFECTS[verb]}>{verb}</Menu.Item>)}
        </Menu.Dropdown>
      </Menu>
      <Confirm title={`Cancel ${job.name}?`} act="Cancel the job" isOpen={isAsked} isBusy={isPending} onClose={() => setAsked(false)}
        onAct={() => mutate({ id: job.id, verb: "cancel" }, { onSettled: () => setAsked(false) })}>{EFFECTS.cancel}</Confirm>
    </>
  );
}
