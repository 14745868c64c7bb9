/** Names and what they are, side by side. */

import { Box, Text } from "@mantine/core";
import type { ReactNode } from "react";

export function Facts({ facts }: { facts: [name: string, value: ReactNode][] }) {
  return (
    <Box component="dl" m={0} style={{ display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(160px, 1fr))", gap: "10px 20px" }}>
      {facts.map(([name, value]) => (
        <div key={name} style={{ minWidth: 0 }}>
          <Text component="dt" size="xs" c="dimmed">{name}</Text>
          <Text component="dd" m={0} size="sm" className="figures" style={{ overflowWrap: "anywhere" }}>{value}</Text>
        </div>
      ))}
    </Box>
  );
}
