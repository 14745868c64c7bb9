/** An example as a model sees it: what it reads, and what it is to answer. */

import { Group, Stack, Text } from "@mantine/core";
import type { Rendered } from "../api/client";
import { TokensView } from "./tokens";

export function RenderedView({ shown, most = 420 }: { shown: Rendered; most?: number }) {
  if (shown.error != null) {
    return (
      <div className="fault">
        <Text size="sm" className="words">{shown.error.message}</Text>
        {shown.error.hint !== null && <Text size="xs" c="dimmed" className="words">{shown.error.hint}</Text>}
      </div>
    );
  }
  return (
    <Stack gap={6}>
      <Prompt text={shown.input ?? ""} label="What the model reads" most={most} />
      <Target text={shown.target ?? ""} references={shown.references} />
      {shown.tokens != null && <TokensView tokens={shown.tokens} />}
    </Stack>
  );
}

export function Prompt({ text, label, most = 420 }: { text: string; label: string; most?: number }) {
  return <pre className="prompt words" tabIndex={0} aria-label={label} style={{ maxHeight: most }}>{text}</pre>;
}

export function Target({ text, references = [] }: { text: string; references?: readonly string[] }) {
  const others = references.filter((each) => each !== text);
  return (
    <Group gap={8} align="flex-start" wrap="nowrap">
      <Text size="xs" c="dimmed" pt={3} style={{ whiteSpace: "nowrap" }}>is to write</Text>
      <div style={{ minWidth: 0 }}>
        <span className="token counted words">{text}</span>
        {others.length > 0 && <Text size="xs" c="dimmed" className="words" lineClamp={3}>also right: {others.join(" · ")}</Text>}
      </div>
    </Group>
  );
}
