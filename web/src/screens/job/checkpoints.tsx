import { Table } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { Job } from "../../api/client";
import { checkpoints } from "../../api/queries";
import { Asked } from "../../parts/asked";
import { Copy } from "../../parts/code";
import { Empty } from "../../parts/empty";
import { bytes, count } from "../../parts/numbers";
import { Ago } from "../../parts/time";

export function Checkpoints({ job }: { job: Job }) {
  const query = useQuery(checkpoints(job.id));
  return (
    <Asked query={query}>
      {(found) => found.length === 0 ? (
        <Empty title="No checkpoint yet">This job writes one every {count(job.spec["checkpoint_every"] as number)} steps, and one at its end.</Empty>
      ) : (
        <div className="sheet" tabIndex={0}>
          <Table className="wide">
            <Table.Thead><Table.Tr>{["Step", "State", "Size", "Attempt", "Written", "Manifest"].map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
            <Table.Tbody>
              {found.map((checkpoint) => (
                <Table.Tr key={checkpoint.id} c={checkpoint.state === "deleted" ? "dimmed" : undefined}>
                  <Table.Td fw={600}>{count(checkpoint.step)}</Table.Td>
                  <Table.Td>{checkpoint.state}{checkpoint.step === job.checkpoint_step && checkpoint.state === "published" ? " · a resume starts here" : ""}</Table.Td>
                  <Table.Td>{bytes(checkpoint.size_bytes)}</Table.Td>
                  <Table.Td>{checkpoint.attempt}</Table.Td>
                  <Table.Td><Ago at={checkpoint.created_at} /></Table.Td>
                  <Table.Td><span className="mono">{checkpoint.manifest_sha256.slice(0, 12)}…</span><Copy text={checkpoint.manifest_sha256} label="Copy the digest" /></Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
    </Asked>
  );
}
