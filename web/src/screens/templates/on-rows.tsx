/** The templates of a set, and one of them on one row: what the model would read, and what it is to write. */

import { Button, Group, NumberInput, Select, Stack, Switch, Table, Text } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import type { Finding, TaskDocument } from "../../api/client";
import { models, rendering } from "../../api/queries";
import { templateSetRoute } from "../../app/router";
import { Waiting } from "../../parts/asked";
import { ErrorCard } from "../../parts/errors";
import { Icon } from "../../parts/icons";
import { RenderedView } from "../../parts/rendered";
import { FindingMark, Findings } from "./findings";

const OPTIONS = [{ value: "flan2021", label: "OPTIONS shown" }, { value: "flan2022", label: "layout drawn" }, { value: "none", label: "not shown" }];

export function OnRows({ name, document, splits, findings }: { name: string; document: TaskDocument; splits: string[]; findings: readonly Finding[] }) {
  const search = templateSetRoute.useSearch();
  const navigate = templateSetRoute.useNavigate();
  const go = (change: Partial<typeof search>) => void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const last = document.templates.length - 1;
  const chosen = Math.min(search.template ?? 0, last);
  const row = search.row ?? 0;
  const choose = (template: number) => go({ template: Math.max(0, Math.min(template, last)) });
  useHotkeys([
    ["j", () => choose(chosen + 1)],
    ["k", () => choose(chosen - 1)],
    ["l", () => go({ row: row + 1 })],
    ["h", () => go({ row: row > 1 ? row - 1 : undefined })],
  ]);
  return (
    <div className="beside">
      <div className="sheet pick" role="listbox" aria-label="Templates" tabIndex={0} aria-activedescendant={`template-${chosen}`}
        onKeyDown={(event) => { const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]; if (step !== undefined) { event.preventDefault(); choose(chosen + step); } }}>
        {document.templates.map((template, number) => (
          <div key={number} id={`template-${number}`} role="option" aria-selected={number === chosen} className="pick-one" onClick={() => choose(number)}>
            <Group gap={6} wrap="nowrap" justify="space-between">
              <Text size="xs" c="dimmed" className="figures">template {number}{"role" in template && template.role === "inverted" ? " · inverted" : ""}</Text>
              <FindingMark findings={findings.filter((finding) => finding.template === number)} />
            </Group>
            <Text size="sm" lineClamp={2} className="words">{("input" in template ? template.input : template.name).replaceAll(/\s*\n\s*/g, " ⏎ ")}</Text>
          </div>
        ))}
      </div>
      <Stack gap="sm" style={{ minWidth: 0 }}>
        <Controls document={document} splits={splits} />
        <OneRow name={name} document={document} splits={splits} template={chosen} row={row} />
        <Findings findings={findings.filter((finding) => finding.template === chosen)} />
        <TemplateText document={document} number={chosen} />
        <Text size="xs" c="dimmed"><kbd>j</kbd> <kbd>k</kbd> next and last template · <kbd>l</kbd> <kbd>h</kbd> next and last row</Text>
      </Stack>
    </div>
  );
}

function Controls({ document, splits }: { document: TaskDocument; splits: string[] }) {
  const search = templateSetRoute.useSearch();
  const navigate = templateSetRoute.useNavigate();
  const go = (change: Partial<typeof search>) => void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const names = (useQuery(models).data ?? []).map((model) => model.id);
  const row = search.row ?? 0;
  return (
    <Group gap="sm" align="flex-end">
      {splits.length > 0 ? (
        <>
          <Select label="Rows of" size="xs" w={130} data={splits} value={splitOf(splits, search.split) ?? null} allowDeselect={false} onChange={(next) => go({ split: next ?? undefined, row: undefined })} />
          <Group gap={4} align="flex-end" wrap="nowrap">
            <NumberInput label="Row" size="xs" w={84} min={0} value={row} allowDecimal={false} hideControls onChange={(next) => go({ row: typeof next === "number" && next > 0 ? next : undefined })} />
            <Button size="xs" variant="default" px={8} aria-label="The row before" disabled={row === 0} onClick={() => go({ row: row > 1 ? row - 1 : undefined })}><span className="turned"><Icon name="right" size={14} /></span></Button>
            <Button size="xs" variant="default" px={8} aria-label="The next row" onClick={() => go({ row: row + 1 })}><Icon name="right" size={14} /></Button>
          </Group>
        </>
      ) : <Text size="xs" c="dimmed" mb={7}>No rows here{document.example == null ? "" : ": a made-up one is shown"}.</Text>}
      <Select label="Answer choices" size="xs" w={150} data={OPTIONS} value={search.options ?? "flan2021"} allowDeselect={false} onChange={(next) => go({ options: next === "flan2022" || next === "none" ? next : undefined })} />
      <Switch size="xs" mb={7} label="Tokens" checked={search.model !== undefined} disabled={names.length === 0} title={names.length === 0 ? "There is no model yet whose tokens could be shown" : undefined}
        onChange={(event) => go({ model: event.currentTarget.checked ? names[0] : undefined })} />
      {search.model !== undefined && <Select label="of the model" size="xs" w={180} data={names} value={search.model} allowDeselect={false} onChange={(next) => go({ model: next ?? undefined })} />}
    </Group>
  );
}

function splitOf(splits: string[], wanted: string | undefined): string | undefined {
  return splits.find((each) => each === wanted) ?? splits[0];
}

function OneRow({ name, document, splits, template, row }: { name: string; document: TaskDocument; splits: string[]; template: number; row: number }) {
  const { split: wanted, options, model } = templateSetRoute.useSearch();
  const split = splitOf(splits, wanted);
  const example = document.example;
  // Where no rows are here, the made-up row that came with the task.
  const rows = split === undefined && example != null ? { rows: [example as Record<string, unknown>] } : { indices: [row], ...(split === undefined ? {} : { split }) };
  const query = useQuery(rendering({ task: name, template, ...rows, ...(options === undefined ? {} : { options }), ...(model === undefined ? {} : { model }) }));
  const shown = query.data?.data[0];
  if (query.error !== null) return <ErrorCard error={query.error} />;
  return shown === undefined ? <Waiting lines={4} /> : <RenderedView shown={shown} />;
}

/** The patterns as they are written. */
function TemplateText({ document, number }: { document: TaskDocument; number: number }) {
  const template = document.templates[number];
  if (template === undefined) return null;
  const lines: [string, string][] = "input" in template ? [["input", template.input], ["target", template.target]] : [["template", JSON.stringify(template)]];
  return (
    <details>
      <summary style={{ cursor: "pointer" }}><Text span size="sm">As it is written</Text></summary>
      <Table verticalSpacing={4} mt={4}><Table.Tbody>{lines.map(([what, text]) => <Table.Tr key={what}><Table.Td w={70} c="dimmed">{what}</Table.Td><Table.Td className="mono words">{text}</Table.Td></Table.Tr>)}</Table.Tbody></Table>
    </details>
  );
}
