/** One model: its versions and aliases, what it has seen, where it came from. */

import { ActionIcon, Badge, Button, Card, Group, Menu, Modal, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, type Model } from "../../api/client";
import { modelVersions } from "../../api/queries";
import { modelRoute } from "../../app/router";
import { useMay } from "../../app/session";
import { Asked } from "../../parts/asked";
import { Copy } from "../../parts/code";
import { ErrorCard } from "../../parts/errors";
import { Facts } from "../../parts/facts";
import { LinkButton } from "../../parts/links";
import { Icon } from "../../parts/icons";
import { count, duration, many, short, UNKNOWN } from "../../parts/numbers";
import { Page, Section } from "../../parts/page";
import { Ago } from "../../parts/time";
import { Users } from "../job/lineage";
import { Deployments } from "./deployments";

export function ModelScreen() {
  const { name } = modelRoute.useParams();
  const { version } = modelRoute.useSearch();
  const query = useQuery(modelVersions(name));
  return (
    <Asked query={query} lines={6}>
      {(versions) => {
        const shown = versions.find((each) => String(each.version) === version) ?? versions[0];
        return shown === undefined ? null : <Shown model={shown} versions={versions} />;
      }}
    </Asked>
  );
}

function Shown({ model, versions }: { model: Model; versions: Model[] }) {
  const navigate = useNavigate();
  const served = model.served_as[0];
  return (
    <Page
      title={model.name}
      about={<Group gap={6}>{model.role} · made <Ago at={model.created_at} />{model.job_id !== null && <>by <Link to="/jobs/$jobId" params={{ jobId: model.job_id }} search={{}}>its job</Link></>}{model.served_as.length > 0 && <>· served as {model.served_as.join(", ")}</>}</Group>}
      actions={
        <>
          {versions.length > 1 && <Select size="sm" w={120} aria-label="Version" allowDeselect={false} value={String(model.version)} data={versions.map((each) => ({ value: String(each.version), label: `@${each.version}` }))}
            onChange={(version) => void navigate({ to: "/models/$name", params: { name: model.name }, search: { version: version ?? undefined } })} />}
          <LinkButton to="/new-job" search={{ kind: "evaluate", model: model.id }} variant="default">Evaluate</LinkButton>
          <LinkButton to="/new-job" search={{ kind: "serve", model: model.id }} variant={served === undefined ? "filled" : "default"}>Serve</LinkButton>
          {served !== undefined && <LinkButton to="/playground" search={{ model: served }}>Ask it</LinkButton>}
        </>
      }
    >
      <Deployments digests={new Set(versions.map((each) => each.digest))} />
      <Aliases model={model} versions={versions} />
      <Card><CardFacts model={model} /></Card>
      <Seen model={model} />
      <Section title="Where it came from, and who uses it">
        <div className="chain">
          <div className="chain-box"><Text size="xs" c="dimmed">{(model.card.lineage.tunings ?? []).length === 0 ? "made from" : "tuned from"}</Text><Text size="sm">{model.card.lineage.base}</Text></div>
          <span className="chain-arrow" aria-hidden="true">→</span>
          {model.job_id !== null && <><div className="chain-box"><Text size="xs" c="dimmed">by</Text><Link className="row-link" to="/jobs/$jobId" params={{ jobId: model.job_id }} search={{}}><Text span size="sm">its job</Text></Link></div><span className="chain-arrow" aria-hidden="true">→</span></>}
          <div className="chain-box here"><Text size="xs" c="dimmed">{model.role}</Text><Text size="sm" fw={600}>{model.id}</Text></div>
          <span className="chain-arrow" aria-hidden="true">→</span>
          <div className="chain-box"><Text size="xs" c="dimmed">used by</Text><Users made={[model.id]} /></div>
        </div>
      </Section>
    </Page>
  );
}

function CardFacts({ model }: { model: Model }) {
  const { card } = model;
  const tunings = card.lineage.tunings ?? [];
  const last = tunings.at(-1);
  return (
    <Facts facts={[
      ["Version", `${model.name}@${model.version}`],
      ["Parameters", short(card.num_parameters)],
      ["Architecture", card.contract.architecture === "decoder" ? "decoder" : "encoder-decoder"],
      ["Context", `${count(card.context_length)} tokens`],
      ["Tuned from", card.lineage.base],
      ["Steps", count(card.lineage.steps)],
      ["Target tokens learned", count(card.lineage.target_tokens)],
      ["Time it took", last === undefined ? UNKNOWN : `${duration(last.wall_s)} on ${last.ranks} × ${last.device}`],
      ["Digest", <span key="digest"><span className="mono">{model.digest.slice(0, 12)}…</span><Copy text={model.digest} label="Copy the digest" /></span>],
    ]} />
  );
}

function Seen({ model }: { model: Model }) {
  const { tasks_seen: tasks, clusters_seen: clusters } = model.card.lineage;
  if (tasks == null || clusters == null) return <Section title="What it has seen"><Text size="sm">Not known: the model was made elsewhere. No evaluation of it is proven zero-shot.</Text></Section>;
  return (
    <Section title="What it has seen">
      <Stack gap="xs">
        <Text size="sm" c="dimmed">Trained on {many(tasks.length, "task")} of {many(clusters.length, "cluster")}. What is not here is what an evaluation can prove to be zero-shot.</Text>
        <Group gap={6}>{clusters.map((cluster) => <Badge key={cluster} variant="outline" tt="none" fw={500} style={{ color: "var(--mantine-color-text)", borderColor: "var(--line)" }}>{cluster}</Badge>)}</Group>
        {tasks.length > 0 && <details><summary style={{ cursor: "pointer" }}><Text span size="sm">Tasks</Text></summary><Text size="sm" mt={6} className="words">{tasks.join(", ")}</Text></details>}
      </Stack>
    </Section>
  );
}

function Aliases({ model, versions }: { model: Model; versions: Model[] }) {
  const mayWrite = useMay("jobs:write");
  const [isAdding, setAdding] = useState(false);
  const aliases = versions.flatMap((version) => version.aliases.map((alias) => ({ alias, version: version.version })));
  const move = useMoveAlias(model.name);
  return (
    <Section title="Aliases" aside={mayWrite && <Button size="xs" variant="default" onClick={() => setAdding(true)}>New alias</Button>}>
      {aliases.length === 0 ? <Text size="sm" c="dimmed">None. An alias is a movable name: jobs and requests that say {model.name}@champion follow it.</Text> : (
        <div className="sheet">
          <Table>
            <Table.Thead><Table.Tr><Table.Th>Alias</Table.Th><Table.Th>Names</Table.Th><Table.Th aria-label="Actions" /></Table.Tr></Table.Thead>
            <Table.Tbody>
              {aliases.map(({ alias, version }) => (
                <Table.Tr key={alias}>
                  <Table.Td fw={600}>{model.name}@{alias}</Table.Td>
                  <Table.Td>@{version}</Table.Td>
                  <Table.Td ta="right">{mayWrite && (
                    <Menu>
                      <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label={`Actions for ${alias}`}><Icon name="dots" size={16} /></ActionIcon></Menu.Target>
                      <Menu.Dropdown>
                        {versions.filter((each) => each.version !== version).map((each) => <Menu.Item key={each.version} onClick={() => move.mutate({ alias, version: each.version })}>Move to @{each.version}</Menu.Item>)}
                        <Menu.Item onClick={() => move.mutate({ alias, version: null })}>Forget it</Menu.Item>
                      </Menu.Dropdown>
                    </Menu>
                  )}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
      {move.error !== null && <ErrorCard error={move.error} />}
      {isAdding && <NewAlias model={model} onClose={() => setAdding(false)} />}
    </Section>
  );
}

/** Moving an alias names what was seen: who moved it meanwhile is not overwritten. */
function useMoveAlias(name: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: async ({ alias, version }: { alias: string; version: number | null }) => {
      const path = { name, alias };
      const tag = async () => (await api.GET("/models/{name}/aliases/{alias}", { params: { path } })).response.headers.get("ETag") ?? "*";
      if (version === null) {
        await api.DELETE("/models/{name}/aliases/{alias}", { params: { path }, headers: { "If-Match": await tag() } });
      } else {
        await api.PUT("/models/{name}/aliases/{alias}", { params: { path }, body: { version }, headers: { "If-Match": await tag() } });
      }
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: ["models"] }),
  });
}

function NewAlias({ model, onClose }: { model: Model; onClose: () => void }) {
  const queries = useQueryClient();
  const [alias, setAlias] = useState("");
  const make = useMutation({
    mutationFn: () => api.PUT("/models/{name}/aliases/{alias}", { params: { path: { name: model.name, alias } }, body: { version: model.version } }),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["models"] });
      onClose();
    },
  });
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>New alias of {model.id}</Text>} centered closeButtonProps={{ "aria-label": "Close" }}>
      <form onSubmit={(event) => { event.preventDefault(); make.mutate(); }}>
        <Stack>
          <TextInput label="Alias" placeholder="champion" description="default is the model that answers where a request names none" value={alias} onChange={(event) => setAlias(event.currentTarget.value)} required data-autofocus />
          {make.error !== null && <ErrorCard error={make.error} />}
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>Leave it</Button><Button type="submit" loading={make.isPending} disabled={alias === ""}>Name it</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
