/** Passages that training rows and held-out rows share, side by side. */

import { Button, Group, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { MixturePreview, Schemas } from "../../api/client";
import { rendering } from "../../api/queries";
import { mixturesRoute } from "../../app/router";
import { Empty } from "../../parts/empty";
import { Icon } from "../../parts/icons";
import { count, percent } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { around } from "./mixture";

type Pair = Schemas["SharedRows"];

export function Leakage({ leakage, hasHeldOut }: { leakage: MixturePreview["leakage"]; hasHeldOut: boolean }) {
  const navigate = mixturesRoute.useNavigate();
  if (leakage === null) {
    return (
      <Section title="Text shared with what is held out">
        {hasHeldOut ? (
          <Group gap="sm">
            <Button size="xs" variant="default" onClick={() => void navigate({ search: (now) => ({ ...now, leakage: 100 }), replace: true })}>Compare 100 rows of each task</Button>
            <Text size="sm" c="dimmed">A run compares all of them before its first step.</Text>
          </Group>
        ) : <Text size="sm" c="dimmed">Nothing is held out whose rows are here, so that nothing can be shared.</Text>}
      </Section>
    );
  }
  const compared = Object.values(leakage.train).reduce((sum, rows) => sum + rows, 0);
  const against = Object.values(leakage.held_out).reduce((sum, rows) => sum + rows, 0);
  return (
    <Section title="Text shared with what is held out">
      <Text size="sm" c="dimmed" className="figures">{count(compared)} training rows against {count(against)} held-out rows: passages of {leakage.words} words, {leakage.short_words} in short texts. A run compares all rows.</Text>
      {leakage.shared.length === 0 ? (
        <Text size="sm" component="div" style={{ color: "var(--state-succeeded)" }}><Group gap={6}><Icon name="check" size={15} />none of them shares a passage</Group></Text>
      ) : <Stack gap="xs">{leakage.shared.map((pair) => <Shared key={`${pair.train}/${pair.held_out}`} pair={pair} />)}</Stack>}
      {Object.keys(leakage.unreadable).length > 0 && <Empty title="Some rows could not be read">{Object.entries(leakage.unreadable).map(([place, rows]) => `${place}: ${count(rows)}`).join(", ")}</Empty>}
    </Section>
  );
}

function Shared({ pair }: { pair: Pair }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="sheet sample" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Text span size="sm" fw={600}>{pair.train}</Text><Text span size="sm" c="dimmed">and</Text><Text span size="sm" fw={600}>{pair.held_out}</Text>
        <Text span size="xs" c="dimmed" className="figures" ml="auto">{count(pair.train_rows)} training rows, {count(pair.held_out_rows)} held-out rows{pair.whole_held_out_rows > 0 ? `; ${count(pair.whole_held_out_rows)} of these whole` : ""}</Text>
      </summary>
      {isOpen && <Stack gap="md" p="sm" pt={0}>{pair.passages.map((passage, index) => <Beside key={index} pair={pair} passage={passage} />)}</Stack>}
    </details>
  );
}

function Beside({ pair, passage }: { pair: Pair; passage: Schemas["Passage"] }) {
  const [task = "", split = ""] = pair.held_out.split("/");
  return (
    <div>
      <Text size="xs" c="dimmed" mb={4} className="figures">{count(passage.words)} words, {percent(passage.coverage)} of the held-out text</Text>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Side title={`training: ${pair.train}`} task={pair.train} split="train" span={passage.train} passage={passage.text} />
        <Side title={`held out: ${pair.held_out}`} task={task} split={split} span={passage.held_out} passage={passage.text} />
      </SimpleGrid>
    </div>
  );
}

/** The row as its first template puts it, with the passage marked; where it is not found in it, the passage alone. */
function Side({ title, task, split, span, passage }: { title: string; task: string; split: string; span: Schemas["Span"]; passage: string }) {
  const { data } = useQuery(rendering({ task, split, indices: [span.row] }));
  const texts = (data?.data ?? []).flatMap((shown) => [shown.input ?? "", shown.target ?? ""]);
  const found = texts.map((text) => around(text, passage)).find((each) => each !== null);
  return (
    <div style={{ minWidth: 0 }}>
      <Text size="xs" fw={600}>{title} <Text span size="xs" c="dimmed" fw={400}>row {count(span.row)}, {span.field}</Text></Text>
      <pre className="prompt words" tabIndex={0} aria-label={title} style={{ maxHeight: 240 }}>{found == null ? <>… <mark>{passage}</mark> …</> : <>{found[0]}<mark>{found[1]}</mark>{found[2]}</>}</pre>
    </div>
  );
}
