/** What a query has brought: the thing itself, or that it is on its way, or why it does not come. */

import { Skeleton, Stack } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ErrorCard } from "./errors";

export function Asked<T>({ query, lines = 4, children }: { query: UseQueryResult<T, Error>; lines?: number; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error !== null) return <ErrorCard error={query.error} again={() => void query.refetch()} />;
  return <Waiting lines={lines} />;
}

export function Waiting({ lines = 4 }: { lines?: number }) {
  return (
    <Stack gap="xs" role="status" aria-busy="true" aria-label="Loading">
      {Array.from({ length: lines }, (_, line) => <Skeleton key={line} height={34} radius="md" />)}
    </Stack>
  );
}
