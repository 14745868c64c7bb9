/** What a mixture is made of: shares as areas, what is left out and why, shared passages, the first examples. */

import { Card, List, SegmentedControl, Stack, Table, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { MixturePreview, Schemas } from "../../api/client";
import { mixturesRoute } from "../../app/router";
import { Empty } from "../../parts/empty";
import { Facts } from "../../parts/facts";
import { count, figure, percent, UNKNOWN } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { Prompt, Target } from "../../parts/rendered";
import { Leakage } from "./leakage";
import { byReason } from "./mixture";
import { Shares } from "./shares";

export function Preview({ preview }: { preview: MixturePreview }) {
  const { by } = mixturesRoute.useSearch();
  const navigate = mixturesRoute.useNavigate();
  const excluded = Object.keys(preview.excluded).length;
  const missing = Object.keys(preview.missing).length;
  const isMeasured = preview.unit !== null;
  const measure = by === "tokens" && isMeasured ? "tokens" : "examples";
  return (
    <Stack gap="lg">
      <Card padding="sm">
        <Facts facts={[
          ["Tasks", count(preview.tasks.length)],
          ["Clusters", count(Object.keys(preview.clusters).length)],
          ["Left out", count(excluded)],
          ["Not here", count(missing)],
          ["Held-out rows to compare with", count(Object.values(preview.compared).reduce((sum, rows) => sum + rows, 0))],
          ["Lengths in", preview.unit === null ? UNKNOWN : `${preview.unit}, of ${count(preview.sampled)} examples`],
        ]} />
      </Card>
      {preview.warnings.length > 0 && <div className="caution"><List size="sm" spacing={2}>{preview.warnings.map((warning) => <List.Item key={warning} className="words">{warning}</List.Item>)}</List></div>}
      <Section title="Shares" aside={<SegmentedControl size="xs" aria-label="Shares of" value={measure} onChange={(next) => void navigate({ search: (now) => ({ ...now, by: next === "tokens" ? "tokens" : undefined }), replace: true })} data={[{ value: "examples", label: "of examples" }, { value: "tokens", label: `of ${preview.unit ?? "tokens"}`, disabled: !isMeasured }]} />}>
        <Shares tasks={preview.tasks} clusters={preview.clusters} measure={measure} />
        <ShareTable preview={preview} />
      </Section>
      {excluded > 0 && <LeftOut excluded={preview.excluded} notCompared={preview.not_compared} />}
      {missing > 0 && <Missing missing={preview.missing} />}
      {Object.keys(preview.unplaced).length > 0 && <Named title="Of unknown kin: no verdict after them is proven" rows={Object.entries(preview.unplaced)} />}
      <Leakage leakage={preview.leakage} hasHeldOut={Object.keys(preview.compared).length > 0} />
      <Section title="What a run would draw first"><Stack gap="xs">{preview.sample.map((example) => <Example key={example.number} example={example} unit={preview.unit ?? "words"} />)}</Stack></Section>
    </Stack>
  );
}

function ShareTable({ preview }: { preview: MixturePreview }) {
  const tasks = preview.tasks.toSorted((one, other) => other.examples - one.examples);
  return (
    <details>
      <summary style={{ cursor: "pointer" }}><Text span size="sm">As a table</Text></summary>
      <div className="sheet" style={{ marginTop: 6 }} tabIndex={0}>
        <Table className="wide" verticalSpacing={4}>
          <Table.Thead><Table.Tr>{["Task", "Cluster", "Examples", preview.unit === "tokens" ? "Tokens" : "Words", "Mean length", "Would be dropped"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
          <Table.Tbody>
            {tasks.map((task) => (
              <Table.Tr key={`${task.part}/${task.name}`}>
                <Table.Td>{task.name}{task.part !== null && <Text span size="xs" c="dimmed"> {task.part}</Text>}</Table.Td><Table.Td>{task.cluster}</Table.Td>
                <Table.Td>{percent(task.examples, 2)}</Table.Td><Table.Td>{percent(task.tokens, 2)}</Table.Td><Table.Td>{figure(task.mean_length, 3)}</Table.Td><Table.Td>{task.unusable > 0 ? percent(task.unusable) : UNKNOWN}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
    </details>
  );
}

function LeftOut({ excluded, notCompared }: { excluded: Record<string, string>; notCompared: Record<string, string> }) {
  return (
    <Section title="Left out, and why">
      <div className="sheet" tabIndex={0}>
        <Table className="wide" verticalSpacing={6}>
          <Table.Thead><Table.Tr><Table.Th>Why</Table.Th><Table.Th>Tasks</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>{byReason(excluded).map(([reason, names]) => <Table.Tr key={reason}><Table.Td w="40%" className="words">{reason}</Table.Td><Table.Td className="words">{names.join(", ")}</Table.Td></Table.Tr>)}</Table.Tbody>
        </Table>
      </div>
      {Object.keys(notCompared).length > 0 && <Named title="Held out, and cannot be compared with the training rows" rows={Object.entries(notCompared)} />}
    </Section>
  );
}

function Missing({ missing }: { missing: Record<string, number | null> }) {
  const known = Object.values(missing).filter((share) => share !== null);
  return (
    <Section title="Not on this machine">
      <Text size="sm" c="dimmed">{known.length === 0 ? "The shares they would have are not known." : `They would have had ${percent(known.reduce((sum, share) => sum + share, 0))} of the examples${known.length < Object.keys(missing).length ? ", and those of unknown size more" : ""}.`}</Text>
      <Named title={`${count(Object.keys(missing).length)} tasks`} rows={Object.entries(missing).map(([task, share]) => [task, share === null ? "size not known" : percent(share, 2)])} />
    </Section>
  );
}

function Named({ title, rows }: { title: string; rows: [string, string][] }) {
  return (
    <details>
      <summary style={{ cursor: "pointer" }}><Text span size="sm">{title} ({count(rows.length)})</Text></summary>
      <div className="sheet" style={{ marginTop: 6, maxHeight: 320 }} tabIndex={0} role="group" aria-label={title}><Table verticalSpacing={3}><Table.Tbody>{rows.map(([name, why]) => <Table.Tr key={name}><Table.Td>{name}</Table.Td><Table.Td c="dimmed" className="words">{why}</Table.Td></Table.Tr>)}</Table.Tbody></Table></div>
    </details>
  );
}

function Example({ example, unit }: { example: Schemas["SampledExample"]; unit: string }) {
  return (
    <Card padding="sm">
      <Text size="xs" c="dimmed" mb={6} className="figures">
        draw {example.number} · <Link className="row-link" to="/templates/$name" params={{ name: example.task }} search={{ template: example.template, row: example.row, split: "train" }}>{example.task}</Link> · row {count(example.row)} · template {example.template}
        {example.part === null ? "" : ` · part ${example.part}`}{example.has_shots ? " · solved rows before it" : ""}{example.num_input == null ? "" : ` · ${count(example.num_input)} + ${count(example.num_target)} ${unit}`}
      </Text>
      {example.error != null ? <div className="fault"><Text size="sm" className="words">Would be dropped: {example.error.message}</Text></div> : (
        <Stack gap={6}><Prompt text={example.input ?? ""} label="What the model reads" most={200} /><Target text={example.target ?? ""} />{example.is_shortened && <Text size="xs" c="dimmed">shortened here</Text>}</Stack>
      )}
      {example.input == null && example.error == null && <Empty title="Nothing to show" />}
    </Card>
  );
}
