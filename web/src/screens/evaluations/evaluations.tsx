/** Evaluations side by side: tasks and models in a table, clusters as bars, templates as dots, questions one by one. */

import { Button, Checkbox, Group, Menu, MultiSelect, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { BASE, type Job } from "../../api/client";
import { jobs, report as reportQuery } from "../../api/queries";
import { evaluationsRoute } from "../../app/router";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { Icon } from "../../parts/icons";
import { LinkButton } from "../../parts/links";
import { Page } from "../../parts/page";
import { moment } from "../../parts/time";
import { subjectOf, tasksOf } from "../job/progress";
import { ClusterBars } from "./cluster-bars";
import { OneTask } from "./one-task";
import { ReportTable } from "./report-table";
import { SweepFigures } from "./sweep-figures";

const FIRST = `flan jobs create -f - <<'END'
kind: evaluate
name: measured
model: NAME
collection: synthetic
tasks: ["cluster:entailment"]
limit: 100
END`;
const FORMATS = [["markdown", "Markdown", "md"], ["latex", "LaTeX", "tex"], ["csv", "CSV", "csv"], ["svg", "Picture (SVG)", "svg"], ["json", "JSON", "json"]] as const;
const MOST = 16;

export function EvaluationsScreen() {
  const search = evaluationsRoute.useSearch();
  const evaluations = useQuery(jobs({ kind: "evaluate", state: "succeeded", limit: 100 }));
  const sweeps = useQuery(jobs({ kind: "sweep", limit: 50 }));
  return (
    <Page title="Evaluations" about="Every figure is a mean over templates, with its spread and n, and says whether the model met the task for the first time"
      actions={<LinkButton to="/new-job" search={{ kind: "evaluate" }} leftSection={<Icon name="plus" size={16} />}>New evaluation</LinkButton>}>
      <Asked query={evaluations} lines={6}>
        {(found) => {
          const ended = sweeps.data?.data ?? [];
          if (found.data.length === 0 && ended.length === 0) return <Empty title="No evaluation has ended yet" code={FIRST}>An evaluation asks a model the rows of tasks it was not trained on, through every template. <Link to="/new-job" search={{ kind: "evaluate" }}>Make one here</Link>, or from a shell:</Empty>;
          const chosen = search.jobs?.split(",").filter(Boolean) ?? newest(found.data, ended);
          return <Chosen chosen={chosen} evaluations={found.data} sweeps={ended} />;
        }}
      </Asked>
    </Page>
  );
}

/** The last evaluations that no sweep handed in, oldest first; where there are none, the last sweep. */
function newest(evaluations: readonly Job[], sweeps: readonly Job[]): string[] {
  const own = evaluations.filter((job) => job.sweep === null).slice(0, 3).map((job) => job.id).reverse();
  return own.length > 0 ? own : sweeps.slice(0, 1).map((job) => job.id);
}

function Chosen({ chosen, evaluations, sweeps }: { chosen: string[]; evaluations: readonly Job[]; sweeps: readonly Job[] }) {
  const search = evaluationsRoute.useSearch();
  const navigate = evaluationsRoute.useNavigate();
  const go = (change: Partial<typeof search>) => void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const isPaired = search.paired === "yes";
  const query = useQuery({ ...reportQuery(chosen, isPaired), enabled: chosen.length > 0 });
  const sweep = chosen.length === 1 ? sweeps.find((job) => job.id === chosen[0]) : undefined;
  const views = [{ value: "table", label: "Table" }, { value: "clusters", label: "Clusters" }, ...(sweep === undefined ? [] : [{ value: "sweep", label: "Along the sweep" }])];
  const view = views.find(({ value }) => value === search.view)?.value ?? "table";
  const known = [
    { group: "Sweeps", items: sweeps.map((job) => ({ value: job.id, label: `${job.name} · ${subjectOf(job.spec)}` })) },
    { group: "Evaluations", items: evaluations.map((job) => ({ value: job.id, label: `${job.name} · ${subjectOf(job.spec)}` })) },
  ].filter(({ items }) => items.length > 0);
  const details = new Map([...evaluations, ...sweeps].map((job) => [job.id, [tasksOf(job.spec), moment(job.finished_at ?? job.created_at)].filter(Boolean).join(" · ")]));
  const isSweep = (id: string) => sweeps.some((job) => job.id === id);
  const choose = (ids: string[]) => {
    const added = ids.find((id) => !chosen.includes(id));
    // A sweep stands alone.
    const next = added !== undefined && isSweep(added) ? [added] : ids.filter((id) => !isSweep(id) || ids.length === 1);
    go({ jobs: next.slice(0, MOST).join(",") || undefined, task: undefined, column: undefined });
  };
  return (
    <Stack gap="md">
      <Group gap="sm" align="flex-end">
        <MultiSelect label="Side by side" description="Evaluations, a column each, the first is what the others are compared with; or one sweep" size="xs" style={{ flex: "1 1 280px", minWidth: 0 }} searchable
          data={known} value={chosen} onChange={choose} maxValues={MOST} 
          renderOption={({ option }) => <div><Text size="sm">{option.label}</Text><Text size="xs" c="dimmed">{details.get(option.value)}</Text></div>} />
        <Menu>
          <Menu.Target><Button variant="default" size="xs" rightSection={<Icon name="down" size={13} />} disabled={chosen.length === 0}>Export</Button></Menu.Target>
          <Menu.Dropdown>
            {FORMATS.map(([format, label, ending]) => <Menu.Item key={format} component="a" href={exportOf(chosen, isPaired, format)} download={`report.${ending}`}>{label}</Menu.Item>)}
          </Menu.Dropdown>
        </Menu>
      </Group>
      <Group gap="md">
        <SegmentedControl size="xs" aria-label="View" data={views} value={view} onChange={(value) => go({ view: value === "table" ? undefined : value })} />
        {view === "table" && <Find find={search.find} onChange={(find) => go({ find })} />}
        {chosen.length > 1 && <Checkbox size="xs" label="Test the differences, question by question" checked={isPaired} onChange={(event) => go({ paired: event.currentTarget.checked ? "yes" : undefined })} />}
      </Group>
      {query.error !== null ? <ErrorCard error={query.error} again={() => void query.refetch()} /> : chosen.length === 0 ? <Text size="sm" c="dimmed">Choose at least one.</Text> : (
        <Asked query={query} lines={8}>
          {({ report, sources }) => (
            <div aria-busy={query.isPlaceholderData} style={{ opacity: query.isPlaceholderData ? 0.6 : 1 }}>
              {view === "table" && <ReportTable report={report} find={search.find ?? ""} chosen={search.task} column={search.column} onChoose={(task, column) => go({ task, column })} />}
              {view === "clusters" && <ClusterBars report={report} />}
              {view === "sweep" && sweep !== undefined && <SweepFigures sweep={sweep} />}
              {view === "table" && search.task !== undefined && <OneTask key={search.task} report={report} sources={sources} task={search.task} column={search.column ?? 0} />}
            </div>
          )}
        </Asked>
      )}
    </Stack>
  );
}

function Find({ find, onChange }: { find: string | undefined; onChange: (find: string | undefined) => void }) {
  const [text, setText] = useState(find ?? "");
  const tell = useDebouncedCallback((wanted: string) => onChange(wanted.trim() || undefined), 250);
  return (
    <TextInput size="xs" w={200} aria-label="Find a task or cluster" placeholder="Task or cluster" value={text} leftSection={<Icon name="search" size={14} />}
      onChange={(event) => { setText(event.currentTarget.value); tell(event.currentTarget.value); }} />
  );
}

function exportOf(chosen: readonly string[], isPaired: boolean, format: string): string {
  const query = new URLSearchParams([...chosen.map((id) => ["job", id]), ["format", format], ...(isPaired ? [["paired", "true"]] : [])] as [string, string][]);
  return `${BASE}/report?${query.toString()}`;
}
