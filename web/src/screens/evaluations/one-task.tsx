/** One task: how far its templates are apart in every model, and what the chosen model was asked and said. */

import { Group, Stack, Table, Text } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import type { Report } from "../../api/client";
import { results } from "../../api/queries";
import { evaluationsRoute } from "../../app/router";
import { seriesColor } from "../../parts/colors";
import { count, percent, UNKNOWN } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { axisOf, place, ticksOf } from "./figures";
import { Samples } from "./samples";

interface Template {
  index: number;
  metric_value: number;
  n: number;
  num_skipped?: number;
  num_cut?: number;
  num_tied?: number;
  num_unfinished?: number;
  num_unread?: number;
  option_mass?: number | null;
}

export function OneTask({ report, sources, task, column }: { report: Report; sources: readonly Record<string, string>[]; task: string; column: number }) {
  const top = useRef<HTMLDivElement>(null);
  const line = report.tasks.find((each) => each.task === task);
  const jobs = sources.map((source) => source[task]);
  const found = useQueries({ queries: jobs.map((id) => ({ ...results(id ?? ""), enabled: id !== undefined, staleTime: Infinity })) });
  const search = evaluationsRoute.useSearch();
  const navigate = evaluationsRoute.useNavigate();
  useEffect(() => {
    // A promise in some browsers: no effect's cleanup.
    void top.current?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }, []);
  if (line === undefined) return null;
  const templates = found.map(({ data }): Template[] => {
    const { tasks = [] } = (data?.results ?? {}) as { tasks?: { task: string; templates: Template[] }[] };
    return tasks.find((each) => each.task === task)?.templates ?? [];
  });
  const published = line.figures.find((figures) => figures?.published != null)?.published ?? null;
  const marks = [{ at: line.chance, label: "chance" }, { at: line.majority, label: "majority" }, { at: published?.value ?? null, label: "published" }].flatMap(({ at, label }) => (at === null ? [] : [{ at, label }]));
  const axis = axisOf([...templates.flat().map((each) => each.metric_value), ...marks.map(({ at }) => at)]);
  const job = jobs[column];
  const choose = (template: number | undefined) => void navigate({ search: (now) => ({ ...now, template }), replace: true });
  return (
    <Stack gap="lg" mt="lg" ref={top}>
      <Section title={`${task}: its templates`} aside={<Text size="xs" c="dimmed">{line.metric}, {line.split}, {line.scoring === "rank" ? "an option is chosen" : "the answer is written"}</Text>}>
        <div className="sheet strips">
          <div className="strip-axis" aria-hidden="true">{ticksOf(axis).map((tick) => <span key={tick} style={{ left: `${100 * place(tick, axis)}%` }}>{Math.round(100 * tick)} %</span>)}</div>
          {report.columns.map((each, i) => (
            <div key={i} className="strip-line">
              <Text size="xs" className="cut" fw={i === column ? 700 : 400} title={each.label}><span className="swatch" style={{ background: seriesColor(i) }} />{each.label}</Text>
              <Strip templates={templates[i] ?? []} axis={axis} color={seriesColor(i)} mean={line.figures[i]?.over_templates.mean ?? null} marks={marks} label={each.label} chosen={i === column ? search.template : undefined} />
            </div>
          ))}
          <Group gap="md" mt={4}>{marks.map(({ at, label }) => <Text key={label} size="xs" c="dimmed"><span className={`strip-key ${label}`} aria-hidden="true" /> {label} {percent(at)}</Text>)}<Text size="xs" c="dimmed">a dot is a template, the long line their mean</Text></Group>
        </div>
      </Section>
      <div className="sheet" tabIndex={0}>
        <Table className="wide" verticalSpacing={5} highlightOnHover>
          <Table.Thead><Table.Tr>{["Template", line.metric, "n", "Passed over", "Cut", "Tied", "Not readable", "Option mass"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
          <Table.Tbody>
            {(templates[column] ?? []).map((each) => (
              <Table.Tr key={each.index} bg={search.template === each.index ? "var(--soft)" : undefined}>
                <Table.Td className="nowrap"><button type="button" className="plain" aria-pressed={search.template === each.index} onClick={() => choose(search.template === each.index ? undefined : each.index)}>template {each.index}</button> <Link className="quiet-link" to="/templates/$name" params={{ name: task }} search={{ template: each.index }}>read it</Link></Table.Td>
                <Table.Td><b>{percent(each.metric_value)}</b></Table.Td>
                <Table.Td>{count(each.n)}</Table.Td>
                <Table.Td>{count(each.num_skipped ?? 0)}</Table.Td>
                <Table.Td>{count(each.num_cut ?? 0)}</Table.Td>
                <Table.Td>{count(each.num_tied ?? 0)}</Table.Td>
                <Table.Td>{count(each.num_unread ?? 0)}</Table.Td>
                <Table.Td>{each.option_mass == null ? UNKNOWN : percent(each.option_mass, 2)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
      {job !== undefined && <Samples job={job} task={task} label={report.columns[column]?.label ?? ""} />}
    </Stack>
  );
}

function Strip({ templates, axis, color, mean, marks, label, chosen }: {
  templates: readonly Template[]; axis: [number, number]; color: string; mean: number | null; marks: { at: number; label: string }[]; label: string; chosen: number | undefined;
}) {
  const said = `${label}: ${templates.map((each) => `template ${each.index} ${percent(each.metric_value)}`).join(", ")}`;
  return (
    <div className="strip" role="img" aria-label={said}>
      {marks.map((mark) => <span key={mark.label} className={`strip-mark ${mark.label}`} style={{ left: `${100 * place(mark.at, axis)}%` }} />)}
      {mean !== null && <span className="strip-mean" style={{ left: `${100 * place(mean, axis)}%`, background: color }} />}
      {templates.map((each, i) => (
        <span key={each.index} className="strip-dot" title={`template ${each.index}: ${percent(each.metric_value)}, n ${count(each.n)}`}
          style={{ left: `${100 * place(each.metric_value, axis)}%`, top: 10 + aside(templates, i), background: color, outline: chosen === each.index ? "2px solid var(--mantine-color-text)" : undefined }} />
      ))}
    </div>
  );
}

/** Of templates that share a figure, each a little above or below the last, in pixels. */
function aside(templates: readonly Template[], i: number): number {
  const before = templates.slice(0, i).filter((each) => each.metric_value === templates[i]?.metric_value).length;
  return [0, -6, 6, -10, 10][before % 5] ?? 0;
}
