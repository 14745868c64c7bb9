/** What went wrong, in the API's own words, with the way out. */

import { Anchor, Button, Card, Group, List, Stack, Text, Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { Icon } from "./icons";

export function ErrorCard({ error, again }: { error: unknown; again?: (() => void) | undefined }) {
  const { title, detail, hint, faults, requestId } = said(error);
  return (
    <Card role="alert" style={{ borderLeft: "3px solid var(--state-failed)" }}>
      <Stack gap={6}>
        <Group gap="xs" wrap="nowrap" align="flex-start">
          <Text component="span" style={{ color: "var(--state-failed)", lineHeight: 0, marginTop: 3 }}><Icon name="warning" /></Text>
          <Text fw={600} className="words">{title}</Text>
        </Group>
        {detail !== title && <Text size="sm" className="words">{detail}</Text>}
        {faults.length > 0 && (
          <List size="sm" spacing={4}>
            {faults.map((fault, index) => (
              <List.Item key={index}>
                {fault.place !== "" && <span className="mono">{fault.place}: </span>}
                <span className="words">{fault.message}</span>
                {fault.hint !== null && <Text size="sm" c="dimmed" className="words">{fault.hint}</Text>}
              </List.Item>
            ))}
          </List>
        )}
        {hint !== null && <Text size="sm" c="dimmed" className="words">{hint}</Text>}
        {(again !== undefined || requestId !== "") && (
          <Group justify="space-between" mt={4}>
            {again === undefined ? <span /> : <Button size="xs" variant="default" onClick={again}>Try again</Button>}
            {requestId !== "" && <Text size="xs" c="dimmed" className="mono">{requestId}</Text>}
          </Group>
        )}
      </Stack>
    </Card>
  );
}

interface Said {
  title: string;
  detail: string;
  hint: string | null;
  faults: { place: string; message: string; hint: string | null }[];
  requestId: string;
}

export function said(error: unknown): Said {
  if (error instanceof ApiError) {
    const { detail, hint, errors, request_id: requestId } = error.problem;
    const faults = errors.map((fault) => ({
      place: fault.pointer ?? fault.parameter ?? (fault.line == null ? "" : `line ${fault.line}`),
      message: fault.message,
      hint: fault.hint ?? null,
    }));
    // A single fault says what the detail says.
    return { title: detail, detail, hint, faults: faults.length > 1 ? faults : [], requestId: error.status >= 500 ? requestId : "" };
  }
  const detail = error instanceof Error ? error.message : String(error);
  return { title: "The page stumbled over this", detail, hint: null, faults: [], requestId: "" };
}

/** What browsers say where a part of the page is no longer there: each says it in its own words. */
const GONE = /dynamically imported module|importing a module script failed|unable to preload css/i;

/** A screen that cannot be shown. Where the dashboard was built anew under an open page, the page is to be read anew. */
export function Broken({ error }: { error: unknown }) {
  if (!(error instanceof Error && GONE.test(error.message))) {
    return <Stack maw={640}><ErrorCard error={error} again={() => location.reload()} /></Stack>;
  }
  return (
    <Card role="alert" maw={640}>
      <Stack gap="xs" align="flex-start">
        <Text fw={600}>The dashboard is a newer one now than this page</Text>
        <Text size="sm">It was built anew while the page was open, and this screen is not in the old one any more. What runs is not touched by it.</Text>
        <Button size="xs" onClick={() => location.reload()}>Read the page anew</Button>
      </Stack>
    </Card>
  );
}

export function NothingHere(): ReactNode {
  return (
    <Stack maw={560} gap="xs">
      <Title order={1}>There is no such page</Title>
      <Text>The address names nothing that the dashboard shows. <Anchor component={Link} to="/" underline="always">Go home</Anchor></Text>
    </Stack>
  );
}
