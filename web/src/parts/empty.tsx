/** Nothing is here yet: what would be, and the command that brings it. */

import { Card, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { Code } from "./code";

export function Empty({ title, children, code }: { title: string; children?: ReactNode; code?: string }) {
  return (
    <Card style={{ borderStyle: "dashed" }} padding="lg">
      <Stack gap="xs" maw={720}>
        <Text fw={600}>{title}</Text>
        {children !== undefined && <Text size="sm" c="dimmed" component="div">{children}</Text>}
        {code !== undefined && <Code text={code} />}
      </Stack>
    </Card>
  );
}
