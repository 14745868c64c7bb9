/** A screen: its heading, what can be done there, what it shows. */

import { Group, Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";

export function Page({ title, about, actions, children }: { title: ReactNode; about?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <Stack gap="lg" data-page>
      <Group justify="space-between" align="flex-start" gap="sm">
        <Stack gap={2} style={{ minWidth: 0, flex: "1 1 260px" }}>
          <Title order={1} style={{ overflowWrap: "anywhere" }}>{title}</Title>
          {about !== undefined && <Text c="dimmed" size="sm" component="div">{about}</Text>}
        </Stack>
        {actions !== undefined && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}

export function Section({ title, aside, children }: { title: ReactNode; aside?: ReactNode; children: ReactNode }) {
  return (
    <Stack component="section" gap="xs">
      <Group justify="space-between" gap="xs">
        <Title order={2}>{title}</Title>
        {aside}
      </Group>
      {children}
    </Stack>
  );
}
