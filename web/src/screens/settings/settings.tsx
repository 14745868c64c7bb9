/** Keys, nodes, and what runs here. */

import { Alert, Button, Card, Checkbox, Group, Modal, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, type Key, type Schemas } from "../../api/client";
import { keys, nodes, version } from "../../api/queries";
import { useKey, useMay } from "../../app/session";
import { Asked } from "../../parts/asked";
import { Code } from "../../parts/code";
import { Confirm } from "../../parts/confirm";
import { ErrorCard } from "../../parts/errors";
import { Facts } from "../../parts/facts";
import { Page, Section } from "../../parts/page";
import { Ago, useNow } from "../../parts/time";
import { Nodes } from "../home/home";

type Scope = Schemas["KeyRequest"]["scopes"][number];
const SCOPES: Record<Scope, string> = {
  "jobs:read": "see jobs, models, template sets and results",
  "jobs:write": "hand in jobs, stop them, move aliases",
  "data:write": "upload template sets and datasets",
  generate: "ask served models",
  "metrics:read": "read the figures for Prometheus",
  admin: "everything, keys too",
};
const DAY_S = 86_400;

export function SettingsScreen() {
  const isAdmin = useMay("admin");
  const running = useQuery(version);
  const there = useQuery(nodes);
  return (
    <Page title="Settings">
      {isAdmin ? <Keys /> : <Section title="Keys"><Text size="sm" c="dimmed">Your key may not see or make keys: that takes the scope admin.</Text></Section>}
      <Section title="Nodes"><Asked query={there} lines={2}>{(found) => <Nodes nodes={found} />}</Asked></Section>
      <Section title="What runs here">
        <Card><Asked query={running} lines={1}>{(found) => <Facts facts={[["Version", found.version], ["Revision of the tables", found.revision], ["Kinds of jobs", found.kinds.join(", ")]]} />}</Asked></Card>
      </Section>
    </Page>
  );
}

function Keys() {
  const query = useQuery(keys);
  const [isMaking, setMaking] = useState(false);
  return (
    <Section title="Keys" aside={<Button size="xs" onClick={() => setMaking(true)}>New key</Button>}>
      <Asked query={query}>
        {(found) => (
          <div className="sheet">
            <Table className="wide">
              <Table.Thead><Table.Tr>{["Name", "Id", "Allows", "Made", "Last used", "Ends", ""].map((name, i) => <Table.Th key={i} {...(name === "" ? { "aria-label": "Actions" } : {})}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
              <Table.Tbody>{[...found].sort(byUse).map((key) => <Row key={key.id} shown={key} />)}</Table.Tbody>
            </Table>
          </div>
        )}
      </Asked>
      {isMaking && <NewKey onClose={() => setMaking(false)} />}
    </Section>
  );
}

/** Those that still work first, the newest of them first. */
function byUse(one: Key, other: Key): number {
  return Number(one.revoked_at !== null) - Number(other.revoked_at !== null) || other.created_at - one.created_at;
}

function Row({ shown: key }: { shown: Key }) {
  const own = useKey();
  const queries = useQueryClient();
  const now = useNow();
  const [isAsked, setAsked] = useState(false);
  const revoke = useMutation({
    mutationFn: () => api.DELETE("/keys/{key_id}", { params: { path: { key_id: key.id } } }),
    onSettled: () => {
      setAsked(false);
      void queries.invalidateQueries({ queryKey: ["keys"] });
      void queries.invalidateQueries({ queryKey: ["session"] });
    },
  });
  const isOver = key.revoked_at !== null || (key.expires_at !== null && key.expires_at <= now);
  return (
    <Table.Tr c={isOver ? "dimmed" : undefined}>
      <Table.Td fw={600}>{key.name}{key.id === own.id && <Text span size="xs" c="dimmed" fw={400}> · yours</Text>}</Table.Td>
      <Table.Td className="mono">{key.id}</Table.Td>
      <Table.Td className="words" maw={280}>{key.scopes.join(", ")}</Table.Td>
      <Table.Td><Ago at={key.created_at} /></Table.Td>
      <Table.Td>{key.used_at === null ? "never" : <Ago at={key.used_at} />}</Table.Td>
      <Table.Td>{key.revoked_at !== null ? <>revoked <Ago at={key.revoked_at} /></> : key.expires_at === null ? "never" : isOver ? "expired" : `in ${Math.ceil((key.expires_at - now) / DAY_S)} days`}</Table.Td>
      <Table.Td>
        {!isOver && <Button size="compact-xs" variant="default" onClick={() => setAsked(true)}>Revoke</Button>}
        <Confirm title={`Revoke the key ${key.name}?`} act="Revoke it" isOpen={isAsked} isBusy={revoke.isPending} onClose={() => setAsked(false)} onAct={() => revoke.mutate()}>
          The next request with it is refused, and browsers that signed in with it are signed out. This cannot be undone.
          {key.id === own.id && <b> It is the key you are signed in with: you will be signed out.</b>}
        </Confirm>
      </Table.Td>
    </Table.Tr>
  );
}

function NewKey({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["jobs:read", "generate"]);
  const [lasts, setLasts] = useState<string>("90");
  const make = useMutation({
    mutationFn: () => body(api.POST("/keys", { body: { name, scopes: scopes as Scope[], expires_in_s: lasts === "" ? null : Number(lasts) * DAY_S } })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ["keys"] }),
  });
  const made = make.data?.key;
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>{made == null ? "New key" : "Your new key"}</Text>} centered closeButtonProps={{ "aria-label": "Close" }} closeOnClickOutside={made == null}>
      {made == null ? (
        <form onSubmit={(event) => { event.preventDefault(); make.mutate(); }}>
          <Stack>
            <TextInput label="Name" description="What you call it" value={name} onChange={(event) => setName(event.currentTarget.value)} required maxLength={64} data-autofocus />
            <Checkbox.Group label="Allows" value={scopes} onChange={setScopes}>
              <Stack gap={6} mt={4}>{Object.entries(SCOPES).map(([scope, says]) => <Checkbox key={scope} value={scope} label={<><span className="mono">{scope}</span> {says}</>} />)}</Stack>
            </Checkbox.Group>
            <Select label="Ends" value={lasts} onChange={(value) => setLasts(value ?? "")} allowDeselect={false}
              data={[{ value: "7", label: "in a week" }, { value: "90", label: "in 90 days" }, { value: "365", label: "in a year" }, { value: "", label: "never" }]} />
            {make.error !== null && <ErrorCard error={make.error} />}
            <Group justify="flex-end"><Button variant="default" onClick={onClose}>Leave it</Button><Button type="submit" loading={make.isPending} disabled={name === "" || scopes.length === 0}>Make the key</Button></Group>
          </Stack>
        </form>
      ) : (
        <Stack>
          <Alert color="yellow.8" variant="outline" title="Shown this once">It is kept nowhere: take it now.</Alert>
          <Code text={made} label="The new key" />
          <Group justify="flex-end"><Button onClick={onClose}>I have it</Button></Group>
        </Stack>
      )}
    </Modal>
  );
}
