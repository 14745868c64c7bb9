/** The spec as YAML, as the command line takes it: what is written here is in the form, and the other way round. */

import { Group, Stack, Text, Textarea } from "@mantine/core";
import { useRef, useState } from "react";
import { parse, stringify } from "yaml";
import { Copy } from "../../parts/code";
import { isObject } from "../job/asked-spec";
import type { Spec } from "./form";

export function YamlEditor({ spec, onChange }: { spec: Spec; onChange: (spec: Spec) => void }) {
  const [text, setText] = useState(() => stringify(spec));
  const [fault, setFault] = useState<string | null>(null);
  const own = useRef(spec);
  // The spec was changed elsewhere: by a preset, say.
  if (own.current !== spec) {
    own.current = spec;
    setText(stringify(spec));
    setFault(null);
  }
  const write = (next: string) => {
    setText(next);
    try {
      const value: unknown = parse(next);
      if (!isObject(value)) throw new Error("a spec is a mapping of names to values");
      own.current = value;
      setFault(null);
      onChange(value);
    } catch (error) {
      setFault(error instanceof Error ? (error.message.split("\n")[0] ?? "not YAML") : "not YAML");
    }
  };
  return (
    <Stack gap={6}>
      <Group justify="space-between"><Text size="xs" c="dimmed">What is left out has its default.</Text><Copy text={text} label="Copy the YAML" /></Group>
      <Textarea aria-label="Spec as YAML" value={text} onChange={(event) => write(event.currentTarget.value)} autosize minRows={18} maxRows={40} classNames={{ input: "mono" }} spellCheck={false} error={fault} />
    </Stack>
  );
}
