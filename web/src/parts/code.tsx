/** Text to be taken away: a command, a request, a document. */

import { ActionIcon, Box, CopyButton, Tabs, Tooltip } from "@mantine/core";
import { Icon } from "./icons";

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  return (
    <CopyButton value={text} timeout={1_500}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? "Copied" : label}>
          <ActionIcon variant="subtle" color="gray" onClick={copy} aria-label={copied ? "Copied" : label}>
            <Icon name={copied ? "check" : "copy"} size={16} />
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}

export function Code({ text, most, label }: { text: string; most?: number; label?: string }) {
  return (
    <Box pos="relative">
      <Box component="pre" className="mono words" tabIndex={0} aria-label={label ?? "Text to copy"} m={0} p="sm" pr={44}
        style={{ background: "var(--soft)", border: "1px solid var(--line)", borderRadius: 8, overflow: "auto", maxHeight: most }}>
        {text}
      </Box>
      <Box pos="absolute" top={5} right={5}><Copy text={text} /></Box>
    </Box>
  );
}

/** One thing to do, in several languages. */
export function CodeTabs({ texts }: { texts: Record<string, string> }) {
  const names = Object.keys(texts);
  return (
    <Tabs defaultValue={names[0] ?? null} keepMounted={false}>
      <Tabs.List mb="xs">
        {names.map((name) => <Tabs.Tab key={name} value={name}>{name}</Tabs.Tab>)}
      </Tabs.List>
      {names.map((name) => <Tabs.Panel key={name} value={name}><Code text={texts[name] ?? ""} label={name} /></Tabs.Panel>)}
    </Tabs>
  );
}
