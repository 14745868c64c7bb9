/** Why a job failed: what happened, who can mend it, the way out, and the last lines before it. */

import { Card, Group, Stack, Text } from "@mantine/core";
import type { Failure, Job } from "../../api/client";
import { Code } from "../../parts/code";
import { Icon } from "../../parts/icons";

const BLAME: Record<Failure["blame"], string> = {
  user: "The request must change: the same spec fails again.",
  system: "A fault of this platform: what is below belongs into a report.",
  infra: "The machine was at fault, not the request: a retry may succeed.",
};

export function FailureCard({ failure, job }: { failure: Failure; job: Pick<Job, "state"> }) {
  const color = job.state === "failed" ? "var(--state-failed)" : "var(--state-paused)";
  return (
    <Card style={{ borderLeft: `3px solid ${color}` }} role={job.state === "failed" ? "alert" : undefined}>
      <Stack gap={8}>
        <Group gap="xs" wrap="nowrap" align="flex-start">
          <span style={{ color, lineHeight: 0, marginTop: 3 }}><Icon name="warning" /></span>
          <div style={{ minWidth: 0 }}>
            <Text fw={600} className="words">{job.state === "failed" ? failure.message : `The last attempt failed: ${failure.message}`}</Text>
            <Text size="sm" c="dimmed">
              <span className="mono">{failure.code}</span>{failure.rank == null ? "" : ` · rank ${failure.rank}`} · {BLAME[failure.blame]}
            </Text>
          </div>
        </Group>
        {failure.hint != null && <Text size="sm" className="words"><b>Way out:</b> {failure.hint}</Text>}
        {failure.log !== undefined && failure.log.length > 0 && (
          <details open={failure.hint == null}>
            <summary style={{ cursor: "pointer", marginBottom: 6 }}><Text span size="sm">The last lines it wrote</Text></summary>
            <Code text={failure.log.slice(-20).join("\n")} most={260} label="Last lines of the log" />
          </details>
        )}
      </Stack>
    </Card>
  );
}
