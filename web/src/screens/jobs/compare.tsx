/** Runs side by side: a curve for each in one chart. */

import { Card, Select, SimpleGrid, Stack, Table } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { useNames, useSeries, Journal } from "../../api/journal";
import { job as jobQuery } from "../../api/queries";
import type { Series } from "../../api/series";
import { compareRoute } from "../../app/router";
import { Chart, type Curve } from "../../parts/chart";
import { Waiting } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { figure } from "../../parts/numbers";
import { Page } from "../../parts/page";
import { State } from "../../parts/state";
import { Lasted } from "../../parts/time";
import { titleOf, usual } from "../job/figures";
import { subjectOf, tasksOf } from "../job/progress";

const MOST = 10;
const NONE = new Journal();

export function CompareScreen() {
  const { jobs } = compareRoute.useSearch();
  const ids = (jobs ?? "").split(",").filter((id) => id.startsWith("job_")).slice(0, MOST);
  const asked = useQueries({ queries: ids.map((id) => jobQuery(id)) });
  const found = asked.flatMap(({ data }) => (data === undefined ? [] : [data]));
  const names = useNames(ids[0] ?? "", NONE);
  const [extra, setExtra] = useState<string | null>(null);
  const shown = [...new Set([...usual(names ?? []).slice(0, 4), ...(extra === null ? [] : [extra])])];
  if (ids.length === 0) return <Page title="Compare jobs"><Empty title="No jobs chosen">Select two or more in the list of jobs, and press Compare.</Empty></Page>;
  const about = `${ids.length} jobs; the address holds which`;
  const failed = asked.find(({ error }) => error !== null);
  if (failed !== undefined) return <Page title="Compare jobs" about={about}><ErrorCard error={failed.error} /></Page>;
  if (found.length < ids.length || names === undefined) return <Page title="Compare jobs" about={about}><Waiting lines={6} /></Page>;
  return (
    <Page title="Compare jobs" about={about}>
      <div className="sheet">
        <Table className="wide">
          <Table.Thead><Table.Tr>{["State", "Job", "Of", "Tasks", "Last loss", "Ran for"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
          <Table.Tbody>
            {found.map((job) => (
              <Table.Tr key={job.id}>
                <Table.Td><State state={job.state} /></Table.Td>
                <Table.Td><Link className="row-link" to="/jobs/$jobId" params={{ jobId: job.id }} search={{}}>{job.name}</Link></Table.Td>
                <Table.Td>{subjectOf(job.spec)}</Table.Td><Table.Td className="words" maw={320}>{tasksOf(job.spec)}</Table.Td>
                <Table.Td>{figure(typeof job.progress?.["loss"] === "number" ? job.progress["loss"] : null)}</Table.Td>
                <Table.Td><Lasted from={job.started_at} to={job.finished_at} /></Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
      <Stack gap="sm">
        <Select label="One more figure" size="xs" w={320} searchable clearable data={names} value={extra} onChange={setExtra} clearButtonProps={{ "aria-label": "No further figure" }} />
        <SimpleGrid cols={{ base: 1, lg: 2 }}>
          {shown.map((name) => <Card key={name} padding="sm"><Together name={name} jobs={found.map(({ id, name: label }) => ({ id, label }))} /></Card>)}
        </SimpleGrid>
      </Stack>
    </Page>
  );
}

function Together({ name, jobs }: { name: string; jobs: { id: string; label: string }[] }) {
  const [found, setFound] = useState<ReadonlyMap<string, Series>>(new Map());
  const { title, unit } = titleOf(name);
  const curves = useMemo(
    (): Curve[] => jobs.flatMap(({ id, label }, color) => {
      const series = found.get(id);
      const twice = jobs.filter((job) => job.label === label).length > 1;
      return series === undefined ? [] : [{ label: twice ? `${label} ${id.slice(-4)}` : label, steps: series.steps, values: series.values, color }];
    }),
    [jobs, found],
  );
  return (
    <>
      {jobs.map(({ id }) => <Read key={id} id={id} name={name} onRead={(series) => setFound((now) => (now.get(id) === series ? now : new Map(now).set(id, series)))} />)}
      <Chart title={title} {...(unit === undefined ? {} : { unit })} curves={curves} sync="compare" height={260} />
    </>
  );
}

/** Shows nothing: reads one series, so that the number of jobs may change. */
function Read({ id, name, onRead }: { id: string; name: string; onRead: (series: Series) => void }) {
  const series = useSeries(id, name);
  useMemo(() => series !== undefined && queueMicrotask(() => onRead(series)), [series]); // eslint-disable-line react-hooks/exhaustive-deps
  return null;
}
