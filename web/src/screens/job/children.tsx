import { Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Child, Job } from "../../api/client";
import { children } from "../../api/queries";
import { ENDED } from "../../api/words";
import { Asked } from "../../parts/asked";
import { count } from "../../parts/numbers";
import { State } from "../../parts/state";

export function Children({ job }: { job: Job }) {
  const query = useQuery({ ...children(job.id), refetchInterval: ENDED.has(job.state) ? false : 3_000 });
  return (
    <Asked query={query}>
      {(found) => {
        const axes = [...new Set(found.flatMap((child) => Object.keys(child.labels)))];
        const done = found.filter((child) => ENDED.has(child.state)).length;
        return (
          <Stack gap="sm">
            <Text size="sm" className="figures">{count(done)} of {count(found.length)} jobs have ended</Text>
            <div className="sheet" tabIndex={0}>
              <Table className="wide">
                <Table.Thead><Table.Tr><Table.Th>State</Table.Th><Table.Th>Job</Table.Th>{axes.map((axis) => <Table.Th key={axis}>{axis}</Table.Th>)}<Table.Th>Kind</Table.Th><Table.Th>Note</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {found.map((child) => (
                    <Table.Tr key={child.id}>
                      <Table.Td><State state={child.state} /></Table.Td>
                      <Table.Td><Link className="row-link" to="/jobs/$jobId" params={{ jobId: child.job_id }} search={{}}>{child.job}</Link></Table.Td>
                      {axes.map((axis) => <Table.Td key={axis}>{child.labels[axis] ?? ""}</Table.Td>)}
                      <Table.Td>{child.kind}</Table.Td>
                      <Table.Td className="words" maw={380}>{note(child)}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </div>
          </Stack>
        );
      }}
    </Asked>
  );
}

function note(child: Child): string {
  if (child.error !== null) return child.error.message;
  return child.is_reused ? "done by a job that was there already" : "";
}
