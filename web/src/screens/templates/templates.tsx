/** What can be asked, and how: clusters, their tasks, and template sets that people handed in. */

import { Badge, Button, Checkbox, Group, SegmentedControl, Stack, Table, Text, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Task, TemplateSet } from "../../api/client";
import { clusters, tasks, templateSets } from "../../api/queries";
import { templatesRoute } from "../../app/router";
import { Asked, Waiting } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { Icon } from "../../parts/icons";
import { LinkButton } from "../../parts/links";
import { count } from "../../parts/numbers";
import { Page, Section } from "../../parts/page";
import { Ago } from "../../parts/time";
import { coverage, hasRows, rowsHere, type Covered } from "./coverage";

const PUSH = `cat > set.yaml <<'END'
{name: my-reviews, extends: shop_reviews, templates: [{input: "{review}\\nGood or bad?\\n{options_}"}]}
END
flan templates push set.yaml`;

export function TemplatesScreen() {
  const search = templatesRoute.useSearch();
  const navigate = templatesRoute.useNavigate();
  const filter = (change: Partial<typeof search>) => void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const collection = search.collection ?? "flan";
  const groups = useQuery(clusters(collection));
  const every = useQuery(tasks(collection));
  const isMissing = search.missing === "yes";
  const sets = useQuery(templateSets);
  return (
    <Page title="Templates" about="How each task is asked: rows become prompts here, the same way in training, evaluation and serving"
      actions={<LinkButton to="/template-editor" search={{}} leftSection={<Icon name="plus" size={16} />}>New template set</LinkButton>}>
      {/* Where there are some, they come first; so nothing is shown before that is known. */}
      {sets.data !== undefined && sets.data.length > 0 && <Uploaded sets={sets.data} />}
      {sets.isPending ? <Waiting lines={8} /> : <Section title="Tasks that come with the platform">
        <Group gap="sm" align="flex-end">
          <SegmentedControl size="xs" aria-label="Collection" value={collection} onChange={(value) => filter({ collection: value === "synthetic" ? "synthetic" : undefined, cluster: undefined })}
            data={[{ value: "flan", label: "FLAN" }, { value: "synthetic", label: "Made-up rows" }]} />
          <Find find={search.find} onChange={(find) => filter({ find })} />
          <Checkbox size="xs" mb={7} label="Only tasks without rows here" checked={isMissing} onChange={(event) => filter({ missing: event.currentTarget.checked ? "yes" : undefined })} />
          {(search.cluster ?? search.find ?? search.missing) !== undefined && <Button size="xs" variant="subtle" onClick={() => filter({ cluster: undefined, find: undefined, missing: undefined })}>Show all</Button>}
        </Group>
        <Asked query={groups} lines={3}>
          {(found) => (
            <Asked query={every} lines={8}>
              {(all) => <Overview all={coverage(found, all, {})} shown={coverage(found, all, { cluster: search.cluster, find: search.find, isMissing })} cluster={search.cluster} onCluster={(cluster) => filter({ cluster })} />}
            </Asked>
          )}
        </Asked>
      </Section>}
      {sets.error !== null ? <ErrorCard error={sets.error} again={() => void sets.refetch()} /> : sets.data?.length === 0 && (
        <Section title="Uploaded template sets">
          <Empty title="None yet" code={PUSH}>Other templates for a task, or a task of your own: <Link to="/template-editor" search={{}}>write one here</Link> and see it rendered as you write, or from a shell:</Empty>
        </Section>
      )}
    </Page>
  );
}

function Find({ find, onChange }: { find: string | undefined; onChange: (find: string | undefined) => void }) {
  const [text, setText] = useState(find ?? "");
  const tell = useDebouncedCallback((wanted: string) => onChange(wanted.trim() || undefined), 250);
  return (
    <TextInput size="xs" w={220} aria-label="Find a task" placeholder="Find a task" value={text} leftSection={<Icon name="search" size={14} />}
      onChange={(event) => { setText(event.currentTarget.value); tell(event.currentTarget.value); }} />
  );
}

function Overview({ all, shown, cluster, onCluster }: { all: Covered[]; shown: Covered[]; cluster: string | undefined; onCluster: (cluster: string | undefined) => void }) {
  const sum = (of: (each: Covered) => number) => all.reduce((total, each) => total + of(each), 0);
  const [numTasks, numTemplates, numMissing] = [sum((each) => each.tasks.length), sum((each) => each.numTemplates), sum((each) => each.numWithoutRows)];
  return (
    <Stack gap="md">
      <Text size="sm" c="dimmed" className="figures">
        {count(all.length)} clusters, {count(numTasks)} tasks, {count(numTemplates)} templates; {numMissing === 0 ? "all tasks have rows here" : `${count(numMissing)} tasks have no rows here`}
      </Text>
      {numMissing > 0 && numMissing === numTasks && (
        <Empty title="No rows are on this machine" code={"flan data pull --preset flan2021 --to folder\nFLAN_DATA=folder flan up"}>Templates are shown with made-up rows. Rows of published datasets are fetched once, with their licences shown:</Empty>
      )}
      <div className="tiles" role="group" aria-label="Clusters">
        {all.map((each) => (
          <button key={each.id} type="button" className="tile" aria-pressed={cluster === each.id} onClick={() => onCluster(cluster === each.id ? undefined : each.id)}>
            <span className="cut tile-name">{each.name}</span>
            <Cover tasks={each.tasks} />
            <span className="tile-about figures">{count(each.tasks.length)} {each.tasks.length === 1 ? "task" : "tasks"}, {count(each.numTemplates)} templates{each.numWithoutRows === 0 ? "" : `, ${count(each.numWithoutRows)} without rows`}</span>
          </button>
        ))}
      </div>
      {shown.length === 0 ? <Empty title="No task fits">Take a filter away.</Empty> : (
        <div className="sheet">
          <Table className="wide" verticalSpacing={6}>
            <Table.Thead><Table.Tr><Table.Th>Task</Table.Th><Table.Th>Asked through</Table.Th><Table.Th>Answered by</Table.Th><Table.Th>Metric</Table.Th><Table.Th ta="right">Rows here</Table.Th></Table.Tr></Table.Thead>
            {shown.map((each) => (
              <Table.Tbody key={each.id}>
                <Table.Tr><Table.Th colSpan={5} scope="rowgroup" className="group">{each.name}{each.adjacent.length > 0 && <Text span size="xs" c="dimmed" fw={400}> · neighbours: {each.adjacent.join(", ")}</Text>}</Table.Th></Table.Tr>
                {each.tasks.map((task) => <TaskRow key={task.id} task={task} />)}
              </Table.Tbody>
            ))}
          </Table>
        </div>
      )}
    </Stack>
  );
}

/** A cell for each task of a cluster: full where it has rows here. */
function Cover({ tasks: shown }: { tasks: readonly Task[] }) {
  return <span className="cover" aria-hidden="true">{shown.map((task) => <span key={task.id} className={hasRows(task) ? "full" : ""} />)}</span>;
}

function TaskRow({ task }: { task: Task }) {
  const { templates } = task.document;
  const inverted = templates.filter((template) => "role" in template && template.role === "inverted").length;
  const rows = rowsHere(task);
  const splits = Object.entries(task.rows_here).map(([split, number]) => `${split} ${count(number)}`).join(", ");
  return (
    <Table.Tr>
      <Table.Td maw={420}>
        <Link className="row-link" to="/templates/$name" params={{ name: task.id }} search={{}}>{task.id}</Link>
        <Text size="xs" c="dimmed" className="cut" title={task.document.description}>{task.document.description}</Text>
      </Table.Td>
      <Table.Td>{count(templates.length)} templates{inverted > 0 && <Text span size="xs" c="dimmed"> {count(inverted)} inverted</Text>}</Table.Td>
      <Table.Td>{task.has_choices ? "choosing" : "writing"}</Table.Td>
      <Table.Td>{task.metrics[0]}</Table.Td>
      <Table.Td ta="right">{!hasRows(task) ? <Text span size="sm" style={{ color: "var(--state-paused)" }}>none</Text> : <span title={splits}>{rows === null ? "not counted" : count(rows)}</span>}</Table.Td>
    </Table.Tr>
  );
}

function Uploaded({ sets }: { sets: readonly TemplateSet[] }) {
  return (
    <Section title="Uploaded template sets">
      <div className="sheet">
        <Table className="wide">
          <Table.Thead><Table.Tr>{["Set", "Version", "Cluster", "Templates", "Handed in"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
          <Table.Tbody>{sets.map((set) => <SetRow key={set.id} set={set} />)}</Table.Tbody>
        </Table>
      </div>
    </Section>
  );
}

function SetRow({ set }: { set: TemplateSet }) {
  return (
    <Table.Tr>
      <Table.Td maw={420}><Link className="row-link" to="/templates/$name" params={{ name: set.name }} search={{}}>{set.name}</Link><Text size="xs" c="dimmed" className="cut">{set.document.description}</Text></Table.Td>
      <Table.Td>@{set.version}</Table.Td>
      <Table.Td><Badge variant="outline" tt="none" fw={500} style={{ color: "var(--mantine-color-text)", borderColor: "var(--line)" }}>{set.cluster}</Badge></Table.Td>
      <Table.Td>{count(set.num_templates)}</Table.Td>
      <Table.Td><Ago at={set.created_at} /></Table.Td>
    </Table.Tr>
  );
}
