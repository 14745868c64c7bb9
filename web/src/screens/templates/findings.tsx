/** What a linter has to say about templates, where it stands. */

import { Group, Stack, Text } from "@mantine/core";
import type { Finding } from "../../api/client";
import { Icon } from "../../parts/icons";
import { count } from "../../parts/numbers";

export function Findings({ findings }: { findings: readonly Finding[] }) {
  return (
    <Stack gap={6}>
      {findings.map((finding, index) => (
        <div key={index} className={finding.severity === "error" ? "fault" : "caution"}>
          <Text size="sm" className="words">{finding.message}</Text>
          <Text size="xs" c="dimmed">{finding.severity} · <span className="mono">{finding.code}</span>{finding.row == null ? "" : ` · first in row ${finding.row}`}</Text>
        </div>
      ))}
    </Stack>
  );
}

/** How many there are, in a word; of none, that there are none. */
export function Verdict({ findings, numRows }: { findings: readonly Finding[]; numRows?: number }) {
  const errors = findings.filter((finding) => finding.severity === "error").length;
  const said = [number(errors, "error"), number(findings.length - errors, "warning")].filter(Boolean).join(", ") || "nothing found";
  const color = errors > 0 ? "failed" : findings.length > 0 ? "paused" : "succeeded";
  return (
    <Text size="sm" component="span" style={{ color: `var(--state-${color})` }}>
      <Group gap={6} component="span" wrap="nowrap"><Icon name={findings.length === 0 ? "check" : "warning"} size={15} />{said}{numRows === undefined ? "" : ` over ${count(numRows)} rows`}</Group>
    </Text>
  );
}

function number(of: number, word: string): string {
  return of === 0 ? "" : `${count(of)} ${word}${of === 1 ? "" : "s"}`;
}

/** A mark beside a template that has findings. */
export function FindingMark({ findings }: { findings: readonly Finding[] }) {
  if (findings.length === 0) return null;
  const isError = findings.some((finding) => finding.severity === "error");
  return (
    <Text component="span" title={findings.map((finding) => finding.message).join("\n")} style={{ color: isError ? "var(--state-failed)" : "var(--state-paused)", lineHeight: 0 }}>
      <Icon name="warning" size={14} /><span className="unseen">{isError ? "has errors" : "has warnings"}</span>
    </Text>
  );
}
