/** What was asked: every value with where it comes from, beside another job's, and to take away. */

import { Group, SegmentedControl, Stack, Table, Text, TextInput, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { stringify } from "yaml";
import { BASE, type Job } from "../../api/client";
import { job as jobQuery, openapi } from "../../api/queries";
import { jobRoute } from "../../app/router";
import { Asked } from "../../parts/asked";
import { Code, CodeTabs, Copy } from "../../parts/code";
import { ErrorCard } from "../../parts/errors";
import { Section } from "../../parts/page";
import { asCode } from "./as-code";
import { askedOf, entriesOf, isSame, type Entry, type Json } from "./asked-spec";

type Spec = { [name: string]: Json };

export function Configuration({ job }: { job: Job }) {
  const query = useQuery(openapi);
  const search = jobRoute.useSearch();
  const navigate = jobRoute.useNavigate();
  const [shown, setShown] = useState("asked");
  const other = useQuery({ ...jobQuery(search.with ?? ""), enabled: (search.with ?? "").startsWith("job_"), retry: false });
  return (
    <Asked query={query}>
      {(document) => {
        const spec = job.spec as Spec;
        const asked = askedOf(document, spec);
        const beside = other.data === undefined ? undefined : new Map(entriesOf(document, other.data.spec as Spec).map((entry) => [entry.pointer, entry]));
        const entries = entriesOf(document, spec);
        return (
          <Stack gap="lg">
            <Section
              title="Values"
              aside={
                <Group gap="sm">
                  <TextInput size="xs" placeholder="job_… to compare with" aria-label="Id of a job to compare with" w={250} value={search.with ?? ""} spellCheck={false}
                    onChange={(event) => void navigate({ search: { ...search, with: event.currentTarget.value.trim() || undefined }, replace: true })} />
                  {beside === undefined && <SegmentedControl size="xs" value={shown} onChange={setShown} data={[{ value: "asked", label: "What was asked" }, { value: "all", label: "Defaults too" }]} aria-label="Which values" />}
                </Group>
              }
            >
              {other.error !== null && <ErrorCard error={other.error} />}
              {beside === undefined ? <Values entries={entries.filter((entry) => shown === "all" || entry.source === "asked")} /> : <Difference entries={entries} beside={beside} names={[job.name, other.data?.name ?? ""]} />}
              <Text size="sm" c="dimmed">Digest of the resolved spec: <span className="mono">{job.spec_digest.slice(0, 16)}…</span><Copy text={job.spec_digest} label="Copy the digest" /> Same digest, same job.</Text>
            </Section>
            <Section title="Hand it in again"><CodeTabs texts={asCode(asked, stringify(asked), BASE)} /></Section>
            {job.spec["pins"] != null && <Pins pins={job.spec["pins"]} />}
          </Stack>
        );
      }}
    </Asked>
  );
}

function Values({ entries }: { entries: Entry[] }) {
  return (
    <div className="sheet" tabIndex={0}>
      <Table className="wide" verticalSpacing={5}>
        <Table.Thead><Table.Tr>{["Field", "Value", "From"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
        <Table.Tbody>
          {entries.map((entry) => (
            <Table.Tr key={entry.pointer}>
              <Table.Td><Field entry={entry} /></Table.Td>
              <Table.Td className="mono words" maw={520}>{JSON.stringify(entry.value)}</Table.Td>
              <Table.Td c={entry.source === "default" ? "dimmed" : undefined}>{entry.source === "asked" ? "the request" : "the default"}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}

function Field({ entry }: { entry: Entry }) {
  const name = <span className="mono" tabIndex={entry.about === undefined ? undefined : 0}>{entry.pointer.slice(1).replaceAll("/", ".")}</span>;
  return entry.about === undefined ? name : <Tooltip label={entry.about} events={{ hover: true, focus: true, touch: true }}>{name}</Tooltip>;
}

function Difference({ entries, beside, names }: { entries: Entry[]; beside: Map<string, Entry>; names: [string, string] }) {
  const mine = new Map(entries.map((entry) => [entry.pointer, entry]));
  const changed = [...new Set([...mine.keys(), ...beside.keys()])].filter((pointer) => !isSame(mine.get(pointer)?.value, beside.get(pointer)?.value));
  if (changed.length === 0) return <Text size="sm">Both ask for the same, value by value.</Text>;
  return (
    <div className="sheet" tabIndex={0}>
      <Table className="wide" verticalSpacing={5}>
        <Table.Thead><Table.Tr>{["Field", ...names].map((name, i) => <Table.Th key={i}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
        <Table.Tbody>
          {changed.map((pointer) => {
            const entry = mine.get(pointer) ?? beside.get(pointer);
            return (
              <Table.Tr key={pointer}>
                <Table.Td>{entry !== undefined && <Field entry={entry} />}</Table.Td>
                {[mine, beside].map((side, i) => <Table.Td key={i} className="mono words" maw={420}>{side.has(pointer) ? JSON.stringify(side.get(pointer)?.value) : "–"}</Table.Td>)}
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </div>
  );
}

function Pins({ pins }: { pins: unknown }) {
  const text = useMemo(() => JSON.stringify(pins, null, 2), [pins]);
  return (
    <details>
      <summary style={{ cursor: "pointer" }}><Text span fw={600} size="sm">Pins: what the names meant when the job was accepted</Text></summary>
      <Code text={text} most={420} label="Pins" />
    </details>
  );
}
