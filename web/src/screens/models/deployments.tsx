/** What is served now: under which name, by how many replicas, how busy they are; and how to end it. */

import { Button, Card, Group, Progress, SimpleGrid, Stack, Text, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Deployment } from "../../api/client";
import { deployments } from "../../api/queries";
import { useMay } from "../../app/session";
import { Confirm } from "../../parts/confirm";
import { LinkButton } from "../../parts/links";
import { count, many, percent, short } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { EFFECTS, useVerb } from "../job/verbs";

/** Those of one model's versions, by their digests; of all models where none is given. Nothing where nothing is served. */
export function Deployments({ digests }: { digests?: ReadonlySet<string> }) {
  const { data } = useQuery(deployments);
  const shown = (data ?? []).filter(({ replicas }) => digests === undefined || replicas.some(({ digest }) => digest !== null && digests.has(digest)));
  if (shown.length === 0) return null;
  return (
    <Section title="Served now">
      <SimpleGrid cols={{ base: 1, md: 2, xl: 3 }}>{shown.map((deployment) => <One key={deployment.id} deployment={deployment} />)}</SimpleGrid>
    </Section>
  );
}

function One({ deployment: { id, num_answering: answering, replicas } }: { deployment: Deployment }) {
  const mayWrite = useMay("jobs:write");
  const { mutateAsync, isPending } = useVerb();
  const [isAsked, setAsked] = useState(false);
  const loads = replicas.flatMap(({ load }) => (load === null ? [] : [load]));
  const sum = (of: (load: (typeof loads)[number]) => number) => loads.reduce((total, load) => total + of(load), 0);
  const written = sum((load) => load.tokens);
  const [used, places] = [sum((load) => load.cache_used), sum((load) => load.cache_places)];
  const end = async () => {
    await Promise.allSettled(replicas.map((replica) => mutateAsync({ id: replica.job_id, verb: "cancel" })));
    setAsked(false);
  };
  return (
    <Card padding="sm">
      <Stack gap={6}>
        <Group justify="space-between" wrap="nowrap">
          <Text fw={600} className="cut">{id}</Text>
          <Group gap={6} wrap="nowrap">
            {answering > 0 && <LinkButton to="/playground" search={{ model: id }} size="compact-xs" variant="default">Ask it</LinkButton>}
            {mayWrite && <Button size="compact-xs" variant="default" onClick={() => setAsked(true)}>Undeploy</Button>}
          </Group>
        </Group>
        <Text size="xs" c="dimmed" className="figures">
          {[...new Set(replicas.map((replica) => replica.model))].join(", ")} · {answering === replicas.length ? many(answering, "replica") : `${count(answering)} of ${many(replicas.length, "replica")} answering`}
          {" · "}{replicas.map((replica, i) => <span key={replica.job_id}>{i > 0 && ", "}<Link to="/jobs/$jobId" params={{ jobId: replica.job_id }} search={{}}>{replica.state} on {replica.node ?? "no node yet"}</Link></span>)}
        </Text>
        {loads.length > 0 && (
          <>
            <Text size="xs" className="figures">
              {count(sum((load) => load.active))} being answered, {count(sum((load) => load.waiting))} waiting · {many(sum((load) => load.requests), "request")} answered, {count(sum((load) => load.refused))} refused · {short(written)} {written === 1 ? "token" : "tokens"} written
            </Text>
            <Tooltip label={`Cache: ${count(used)} of ${count(places)} tokens are held by what is being answered`}>
              <Progress size={5} value={places === 0 ? 0 : (100 * used) / places} aria-label={`${percent(places === 0 ? 0 : used / places, 0)} of the cache of ${id} in use`} />
            </Tooltip>
          </>
        )}
      </Stack>
      <Confirm title={`Undeploy ${id}?`} act="Undeploy" isOpen={isAsked} isBusy={isPending} onClose={() => setAsked(false)} onAct={() => void end()}>
        {replicas.length > 1 ? `All ${count(replicas.length)} replicas end. ` : ""}{EFFECTS.cancel}
      </Confirm>
    </Card>
  );
}
