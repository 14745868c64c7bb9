/** The versions of a set, and what changed from one to another. */

import { Group, Select, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Schemas, TemplateSet } from "../../api/client";
import { templateSetDiff, templateSetVersions } from "../../api/queries";
import { templateSetRoute } from "../../app/router";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { count } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { When } from "../../parts/time";
import { kindOfLine } from "./draft";

export function Versions({ set }: { set: TemplateSet }) {
  const query = useQuery(templateSetVersions(set.name));
  return (
    <Asked query={query} lines={3}>
      {(versions) => (
        <Stack gap="lg">
          <div className="sheet">
            <Table className="wide">
              <Table.Thead><Table.Tr>{["Version", "Handed in", "Templates", "Digest"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
              <Table.Tbody>
                {versions.map((each) => (
                  <Table.Tr key={each.id}>
                    <Table.Td><Link className="row-link" to="/templates/$name" params={{ name: `${each.name}@${each.version}` }} search={{}}>@{each.version}</Link>{each.version === set.version && <Text span size="xs" c="dimmed"> shown</Text>}</Table.Td>
                    <Table.Td><When at={each.created_at} /></Table.Td>
                    <Table.Td>{count(each.num_templates)}</Table.Td>
                    <Table.Td className="mono">{each.sha256.slice(0, 12)}…</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </div>
          {versions.length > 1 ? <Diff set={set} versions={versions.map((each) => each.version)} /> : <Empty title="There is one version" code={`flan templates push set.yaml   # name: ${set.name}`}>The same name handed in again is the next one; what changed then stands here.</Empty>}
        </Stack>
      )}
    </Asked>
  );
}

function Diff({ set, versions }: { set: TemplateSet; versions: number[] }) {
  const search = templateSetRoute.useSearch();
  const navigate = templateSetRoute.useNavigate();
  const to = versions.find((each) => String(each) === search.to) ?? Math.max(2, set.version);
  const from = versions.find((each) => String(each) === search.from) ?? to - 1;
  const query = useQuery(templateSetDiff(set.name, from, to));
  const data = versions.map((each) => ({ value: String(each), label: `@${each}` }));
  const go = (change: { from?: string; to?: string }) => void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  return (
    <Section title="What changed" aside={
      <Group gap="xs">
        <Select size="xs" w={90} aria-label="From version" data={data} value={String(from)} allowDeselect={false} onChange={(value) => go({ from: value ?? "" })} />
        <Text size="sm">to</Text>
        <Select size="xs" w={90} aria-label="To version" data={data} value={String(to)} allowDeselect={false} onChange={(value) => go({ to: value ?? "" })} />
      </Group>
    }>
      <Asked query={query} lines={3}>
        {({ templates, fields }) => templates.length + fields.length === 0 ? <Text size="sm" c="dimmed">Nothing: the two say the same.</Text> : (
          <Stack gap="sm">
            {templates.map((change, index) => (
              <div key={index} className="sheet" style={{ padding: "8px 12px" }}>
                <Text size="sm" fw={600} mb={4}>{changed(change)}</Text>
                {change.diff !== "" && <pre className="mono words" style={{ margin: 0 }} tabIndex={0} aria-label="Its lines">{change.diff.split("\n").slice(3).map((line, number) => <div key={number} className={`diff-${kindOfLine(line)}`}>{line || " "}</div>)}</pre>}
              </div>
            ))}
            {fields.length > 0 && (
              <div className="sheet" tabIndex={0}>
                <Table className="wide">
                  <Table.Thead><Table.Tr><Table.Th>Field</Table.Th><Table.Th>Before</Table.Th><Table.Th>After</Table.Th></Table.Tr></Table.Thead>
                  <Table.Tbody>{fields.map((field) => <Table.Tr key={field.pointer}><Table.Td className="mono">{field.pointer}</Table.Td><Table.Td className="mono words">{JSON.stringify(field.before)}</Table.Td><Table.Td className="mono words">{JSON.stringify(field.after)}</Table.Td></Table.Tr>)}</Table.Tbody>
                </Table>
              </div>
            )}
          </Stack>
        )}
      </Asked>
    </Section>
  );
}

function changed({ before, after, change }: Schemas["TemplateChangeShape"]): string {
  if (before === null) return `Template ${after} is new`;
  if (after === null) return `Template ${before} is gone`;
  return before === after ? `Template ${after} ${change}` : `Template ${before} is now number ${after}${change === "moved" ? "" : ", and changed"}`;
}
