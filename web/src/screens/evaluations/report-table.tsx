/** Tasks and models: a cell is mean ± spread over templates, its verdict, and what was published beside. */

import { Table, Text, Tooltip } from "@mantine/core";
import type { Report } from "../../api/client";
import { seriesColor } from "../../parts/colors";
import { Empty } from "../../parts/empty";
import { count, percent, UNKNOWN } from "../../parts/numbers";
import { Zeroshot } from "./verdict";
import { groups, points, type Group, type TaskFigures, type TaskLine } from "./figures";

export function ReportTable({ report, find, chosen, column, onChoose }: {
  report: Report; find: string; chosen: string | undefined; column: number | undefined; onChoose: (task: string | undefined, column: number | undefined) => void;
}) {
  const found = groups(report, find);
  if (found.length === 0) return <Empty title="No task fits">Take the filter away.</Empty>;
  return (
    <>
      <div className="sheet" tabIndex={0}>
        <Table style={{ minWidth: 360 + 170 * report.columns.length }} verticalSpacing={6}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Task</Table.Th>
              {report.columns.map((each, i) => (
                <Table.Th key={i}>
                  <Tooltip label={about(each)}><span tabIndex={0}><span className="swatch" style={{ background: seriesColor(i) }} />{each.label}</span></Tooltip>
                </Table.Th>
              ))}
              <Table.Th>Published</Table.Th>
              <Table.Th ta="right">Chance</Table.Th>
            </Table.Tr>
          </Table.Thead>
          {found.map((group) => (
            <Table.Tbody key={group.cluster}>
              <Whole group={group} columns={report.columns.length} />
              {group.tasks.map((line) => (
                <Table.Tr key={line.task} data-task={line.task}>
                  <Table.Td>
                    <Text size="sm">{line.task}</Text>
                    <Text size="xs" c="dimmed">{line.metric}{line.is_alike ? "" : " · not asked alike"}</Text>
                  </Table.Td>
                  {line.figures.map((figures, i) => (
                    <Table.Td key={i}>
                      {figures === null ? <Missing report={report} line={line} column={i} /> : (
                        <button type="button" className="cell figures" aria-pressed={chosen === line.task && column === i}
                          onClick={() => (chosen === line.task && column === i ? onChoose(undefined, undefined) : onChoose(line.task, i))}>
                          <Figures figures={figures} line={line} />
                        </button>
                      )}
                    </Table.Td>
                  ))}
                  <Table.Td><Published line={line} /></Table.Td>
                  <Table.Td ta="right">{line.chance === null ? UNKNOWN : percent(line.chance)}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          ))}
        </Table>
      </div>
      <Text size="xs" c="dimmed" mt={6}>Mean ± standard deviation over templates, n rows. Press a figure for its templates and questions. Published figures are of other models, and no measurements of the same thing: point at one for what differs.</Text>
    </>
  );
}

function about(column: Report["columns"][number]): string {
  return [
    `${column.model}, tuned from ${column.base} for ${count(column.tuned_steps)} steps`,
    column.num_parameters === null ? "" : `${count(column.num_parameters)} parameters`,
    `asked with ${column.prompt_format.replaceAll("_", " ")}${column.shots > 0 ? `, ${column.shots} solved rows` : ""}`,
    `options chosen by ${column.choose_by.replaceAll("_", " ")}`,
  ].filter(Boolean).join(" · ");
}

function Whole({ group, columns }: { group: Group; columns: number }) {
  return (
    <Table.Tr>
      <Table.Th className="group" scope="rowgroup">{group.name}</Table.Th>
      {Array.from({ length: columns }, (_, i) => {
        const figures = group.whole?.figures[i];
        return <Table.Th key={i} className="group figures">{figures == null ? "" : <Tooltip label={`Unweighted mean over ${count(figures.num_tasks)} tasks, ${count(figures.n)} rows; the spread is the mean of their spreads over templates`}><span tabIndex={0}>{percent(figures.mean)}{figures.spread === null ? "" : ` ± ${(100 * figures.spread).toFixed(1)}`}<Text span size="xs" c="dimmed" fw={400}> {count(figures.num_tasks)} {figures.num_tasks === 1 ? "task" : "tasks"}</Text></span></Tooltip>}</Table.Th>;
      })}
      <Table.Th className="group" /><Table.Th className="group" />
    </Table.Tr>
  );
}

function Figures({ figures, line }: { figures: TaskFigures; line: TaskLine }) {
  const { mean, spread, num_templates: templates } = figures.over_templates;
  const said = `mean of ${count(templates)} templates${spread === null ? "" : " ± their standard deviation"}; 95 % interval ${percent(figures.interval[0])} – ${percent(figures.interval[1])}; n = ${count(figures.n)} of ${count(figures.num_rows)} rows of ${line.split}`;
  return (
    <Tooltip label={said}>
      <span>
        <span className="nowrap"><b>{percent(mean)}</b>{spread === null ? "" : ` ± ${(100 * spread).toFixed(1)}`} <Text span size="xs" c="dimmed">n {count(figures.n)}</Text></span>
        <span className="cell-about">
          <Zeroshot verdict={figures.verdict} />
          {figures.num_unclean != null && figures.num_unclean > 0 && ` · ${count(figures.num_unclean)} unclean`}
          {figures.paired != null && ` · ${points(figures.paired.difference)} (p ${figures.paired.p_value < 0.001 ? "< 0.001" : figures.paired.p_value.toFixed(3)})`}
        </span>
      </span>
    </Tooltip>
  );
}

function Missing({ report, line, column }: { report: Report; line: TaskLine; column: number }) {
  const failed = report.columns[column]?.failed[line.task];
  if (failed === undefined) return <Text size="sm" c="dimmed">{UNKNOWN}</Text>;
  return <Tooltip label={failed.message}><Text size="sm" tabIndex={0} style={{ color: "var(--state-failed)" }}>failed</Text></Tooltip>;
}

/** What publications say of the task; the same whichever column found it. */
function Published({ line }: { line: TaskLine }) {
  const beside = line.figures.find((figures) => figures?.published != null)?.published;
  if (beside == null) return <Text size="sm" c="dimmed">{UNKNOWN}</Text>;
  return (
    <Tooltip label={<>{beside.reference}<br />{beside.caveats.map((each) => <span key={each}>· {each}<br /></span>)}</>}>
      <span tabIndex={0} className="figures nowrap">{percent(beside.value)}{beside.spread === null ? "" : ` ± ${(100 * beside.spread).toFixed(1)}`}<span className="cell-about">{beside.system} · {beside.confidence.replaceAll("_", " ")}</span></span>
    </Tooltip>
  );
}
