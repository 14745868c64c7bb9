/** Who is signed in, and the page that asks for a key where nobody is. */

import { Alert, Anchor, Box, Button, Card, Code, Group, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useState, type ReactNode } from "react";
import { api, BASE, body, type Key } from "../api/client";
import { session } from "../api/queries";
import { ErrorCard } from "../parts/errors";
import mark from "./mark.svg";

const SignedInKey = createContext<Key | null>(null);

/** The key this browser signed in with. */
export function useKey(): Key {
  const key = useContext(SignedInKey);
  if (key === null) throw new Error("nobody is signed in: this belongs inside <SignedIn>");
  return key;
}

/** Whether the key allows something; `admin` allows everything. */
export function useMay(scope: string): boolean {
  const { scopes } = useKey();
  return scopes.includes(scope) || scopes.includes("admin");
}

export function useSignOut(): () => void {
  const queries = useQueryClient();
  const { mutate } = useMutation({
    mutationFn: () => api.DELETE("/session"),
    onSuccess: () => {
      queries.removeQueries({ predicate: (query) => query.queryKey[0] !== "session" });
      queries.setQueryData(session.queryKey, { object: "session", key: null });
    },
  });
  return mutate;
}

export function SignedIn({ children }: { children: ReactNode }) {
  const { data, error } = useQuery(session);
  if (error !== null && data === undefined) {
    return (
      <Box maw={560} mx="auto" mt={80} px="md">
        <ErrorCard error={error} />
      </Box>
    );
  }
  if (data === undefined) return null;
  if (data.key === null) return <SignIn />;
  return <SignedInKey value={data.key}>{children}</SignedInKey>;
}

function SignIn() {
  const queries = useQueryClient();
  const [key, setKey] = useState("");
  const { mutate, isPending, error } = useMutation({
    mutationFn: () => body(api.POST("/session", { body: { key: key.trim() } })),
    onSuccess: (begun) => queries.setQueryData(session.queryKey, begun),
  });
  return (
    <Box component="main" maw={440} mx="auto" px="md" pt="14vh">
      <Group gap="sm" mb="lg">
        <img src={mark} alt="" width={36} height={36} />
        <Title order={1}>Sign in to FLAN</Title>
      </Group>
      <Card padding="lg">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            mutate();
          }}
        >
          <Stack>
            <PasswordInput
              label="API key"
              placeholder="flan_…"
              description="This browser then holds a cookie that stands for the key; the key itself is not kept."
              value={key}
              onChange={(event) => setKey(event.currentTarget.value)}
              autoComplete="current-password"
              spellCheck={false}
              required
              data-autofocus
              autoFocus
            />
            {error !== null && (
              <Alert color="red" variant="outline" role="alert" title={error.message}>
                It may be mistyped, expired or revoked.
              </Alert>
            )}
            <Button type="submit" loading={isPending} disabled={key.trim() === ""}>
              Sign in
            </Button>
          </Stack>
        </form>
      </Card>
      <Text size="sm" c="dimmed" mt="md">
        The first key was printed when the platform came up, and lies in <Code>FLAN_HOME/key</Code>. An administrator
        makes more: <Code>flan keys create NAME --scope jobs:read</Code>. Programs send the key themselves; see the{" "}
        <Anchor href={`${BASE}/docs`} size="sm" underline="always">
          reference
        </Anchor>
        .
      </Text>
    </Box>
  );
}
