/** A job to be handed in: as a form or as YAML, with what it would do beside it, worked out while it is written. */

import { Button, Card, Group, Select, SimpleGrid, Stack, Tabs, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { stringify } from "yaml";
import { api, ask, BASE, body, type Job, type JobKind, type Plan } from "../../api/client";
import { openapi, type OpenApi } from "../../api/queries";
import { JOB_KINDS } from "../../api/words";
import { newJobRoute } from "../../app/router";
import { Asked, Waiting } from "../../parts/asked";
import { CodeTabs } from "../../parts/code";
import { ErrorCard } from "../../parts/errors";
import { Page } from "../../parts/page";
import { asCode } from "../job/as-code";
import { askedOf } from "../job/asked-spec";
import { Form } from "./fields";
import type { Spec } from "./form";
import { PlanCard } from "./plan";
import { PRESETS } from "./presets";
import { YamlEditor } from "./yaml-editor";

const KINDS: Record<JobKind, string> = { tune: "Tune a model", evaluate: "Evaluate a model", serve: "Serve a model", sweep: "Sweep over many" };

export function NewJobScreen() {
  const { from, kind, model, mixture } = newJobRoute.useSearch();
  const document = useQuery(openapi);
  const origin = useQuery({
    queryKey: ["job", from ?? ""],
    queryFn: () => body(api.GET("/jobs/{job_id}", { params: { path: { job_id: from ?? "" } } })),
    enabled: from !== undefined,
  });
  return (
    <Page title="New job" about={origin.data === undefined ? undefined : <>A clone of {origin.data.name}</>}>
      <Asked query={document} lines={8}>
        {(found) => {
          if (from !== undefined && origin.data === undefined) return origin.error === null ? <Waiting lines={8} /> : <ErrorCard error={origin.error} />;
          const first = origin.data === undefined ? withMixture(presetFor(kind ?? "tune", model), mixture) : askedOf(found, origin.data.spec as Spec);
          return <Desk key={`${from}/${kind}/${model}`} openapi={found} first={first} />;
        }}
      </Asked>
    </Page>
  );
}

function presetFor(kind: JobKind, model: string | undefined): Spec {
  const spec = PRESETS[kind][0]?.spec ?? { kind };
  if (model === undefined) return spec;
  const name = model.split("@")[0] ?? model;
  if (kind === "tune") return { ...spec, base: model };
  return { ...spec, model, name: kind === "serve" ? name : `${name}-measured` };
}

/** A tune job on a mixture that was composed elsewhere. */
function withMixture(spec: Spec, mixture: Spec | undefined): Spec {
  return mixture === undefined ? spec : { ...spec, mixture };
}

function Desk({ openapi: document, first }: { openapi: OpenApi; first: Spec }) {
  const [spec, setSpec] = useState<Spec>(first);
  const [tab, setTab] = useState<string | null>("form");
  const navigate = useNavigate();
  const kind = JOB_KINDS.find((each) => each === spec["kind"]) ?? "tune";
  const [settled] = useDebouncedValue(spec, 500);
  const plan = useQuery({
    queryKey: ["plan", settled],
    queryFn: async ({ signal }) => (await (await post("/jobs?dry_run=true", settled, signal)).json()) as Plan,
    retry: false,
    staleTime: 30_000,
    placeholderData: (before) => before,
  });
  const create = useMutation({
    mutationFn: async () => (await (await post("/jobs", spec)).json()) as Job,
    onSuccess: (job) => void navigate({ to: "/jobs/$jobId", params: { jobId: job.id }, search: {} }),
  });
  return (
    <Stack>
      <Group gap="sm" align="flex-end">
        <Select label="What" w={200} data={JOB_KINDS.map((each) => ({ value: each, label: KINDS[each] }))} value={kind} allowDeselect={false}
          onChange={(value) => { const next = JOB_KINDS.find((each) => each === value) ?? "tune"; setSpec(presetFor(next, undefined)); create.reset(); }} />
        <Select label="Begin with" w={260} placeholder="a preset" data={PRESETS[kind].map(({ title }) => title)} value={null}
          onChange={(title) => { const preset = PRESETS[kind].find((each) => each.title === title); if (preset !== undefined) setSpec(preset.spec); }}
          renderOption={({ option }) => <div><Text size="sm">{option.label}</Text><Text size="xs" c="dimmed">{PRESETS[kind].find(({ title }) => title === option.value)?.about}</Text></div>} />
      </Group>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
        <Card>
          <Tabs value={tab} onChange={setTab} keepMounted={false}>
            <Tabs.List mb="md"><Tabs.Tab value="form">Form</Tabs.Tab><Tabs.Tab value="yaml">YAML</Tabs.Tab><Tabs.Tab value="code">As code</Tabs.Tab></Tabs.List>
            <Tabs.Panel value="form"><Form openapi={document} kind={kind} spec={spec} error={plan.error} onChange={setSpec} /></Tabs.Panel>
            <Tabs.Panel value="yaml"><YamlEditor spec={spec} onChange={setSpec} /></Tabs.Panel>
            <Tabs.Panel value="code"><CodeTabs texts={asCode(spec, stringify(spec), BASE)} /></Tabs.Panel>
          </Tabs>
        </Card>
        <Stack style={{ position: "sticky", top: 68, alignSelf: "start" }}>
          <PlanCard plan={plan} isOld={plan.isFetching || settled !== spec} />
          {create.error !== null && <ErrorCard error={create.error} />}
          <Button size="md" loading={create.isPending} onClick={() => create.mutate()} disabled={plan.error !== null}>Hand it in</Button>
        </Stack>
      </SimpleGrid>
    </Stack>
  );
}

function post(path: string, spec: Spec, signal?: AbortSignal): Promise<Response> {
  return ask(`${BASE}${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(spec), ...(signal === undefined ? {} : { signal }) });
}
