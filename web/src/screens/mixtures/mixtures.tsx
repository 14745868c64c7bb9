/** A mixture composed and looked at before anything is trained: what is in it, what is not and why, and its examples. */

import { Card, Group, Loader, Stack, Tabs, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { stringify } from "yaml";
import { BASE } from "../../api/client";
import { jobs, mixturePreview } from "../../api/queries";
import { mixturesRoute } from "../../app/router";
import { CodeTabs } from "../../parts/code";
import { ErrorCard } from "../../parts/errors";
import { LinkButton } from "../../parts/links";
import { Waiting } from "../../parts/asked";
import { Page, Section } from "../../parts/page";
import { quoted } from "../job/as-code";
import { isObject } from "../job/asked-spec";
import { YamlEditor } from "../new-job/yaml-editor";
import { Compose } from "./compose";
import { asked, FIRST, PRESETS, type Mixture } from "./mixture";
import { Preview } from "./preview";

export function MixturesScreen() {
  const search = mixturesRoute.useSearch();
  const navigate = mixturesRoute.useNavigate();
  const go = (change: Partial<typeof search>) => void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const mixture: Mixture = search.mixture ?? FIRST;
  const [settled] = useDebouncedValue(mixture, 400);
  const request = { mixture: settled, sample: 8, ...(search.model === undefined ? {} : { model: search.model }), ...(search.leakage === undefined ? {} : { leakage_rows: search.leakage }) };
  const query = useQuery(mixturePreview(request));
  const change = (next: Mixture) => go({ mixture: next });
  return (
    <Page title="Mixtures" about="What training would draw from: shares, what is held out and what falls with it, and the first examples. Nothing is recorded; the address holds the mixture"
      actions={<LinkButton to="/new-job" search={{ kind: "tune", mixture }}>Train on it</LinkButton>}>
      <div className="composing">
        <Stack gap="md" style={{ minWidth: 0 }}>
          <Card>
            <Tabs value={search.form ?? "form"} onChange={(form) => go({ form: form === "yaml" || form === "code" ? form : undefined })} keepMounted={false}>
              <Tabs.List mb="md"><Tabs.Tab value="form">Form</Tabs.Tab><Tabs.Tab value="yaml">YAML</Tabs.Tab><Tabs.Tab value="code">As code</Tabs.Tab></Tabs.List>
              <Tabs.Panel value="form"><Compose mixture={mixture} onChange={change} /></Tabs.Panel>
              <Tabs.Panel value="yaml"><YamlEditor spec={mixture} onChange={change} /></Tabs.Panel>
              <Tabs.Panel value="code"><CodeTabs texts={asCode(mixture)} /></Tabs.Panel>
            </Tabs>
          </Card>
          <Known onChoose={change} />
        </Stack>
        <Stack gap="md" style={{ minWidth: 0 }}>
          {query.isFetching && <Group gap="xs" aria-live="polite"><Loader size="xs" /><Text size="sm" c="dimmed">{search.leakage === undefined ? "Working out what is in it …" : "Reading and comparing rows; this takes a while …"}</Text></Group>}
          {query.error !== null ? <ErrorCard error={query.error} again={() => void query.refetch()} /> : query.data === undefined ? <Waiting lines={6} /> : (
            <div style={{ opacity: query.isPlaceholderData ? 0.55 : 1 }}><Preview preview={query.data} /></div>
          )}
        </Stack>
      </div>
    </Page>
  );
}

/** Mixtures that are there already: published ones, and those that jobs were trained on. */
function Known({ onChoose }: { onChoose: (mixture: Mixture) => void }) {
  const { data } = useQuery(jobs({ kind: "tune", limit: 20 }));
  const used = new Map<string, { name: string; id: string; mixture: Mixture }>();
  for (const job of data?.data ?? []) {
    const mixture = job.spec["mixture"];
    if (!isObject(mixture)) continue;
    const own = asked(mixture);
    const key = JSON.stringify(own);
    if (!used.has(key)) used.set(key, { name: job.name, id: job.id, mixture: own });
  }
  return (
    <Section title="Mixtures that are there">
      <div className="sheet" tabIndex={0}>
        <ul className="plain-list">
          {PRESETS.map((preset) => <li key={preset}><button type="button" className="plain" onClick={() => onChoose({ preset, missing: "drop" })}>{preset}</button> <Text span size="xs" c="dimmed">as published, without what is not on this machine</Text></li>)}
          {[...used.values()].map(({ name, id, mixture }) => (
            <li key={id}>
              <button type="button" className="plain" onClick={() => onChoose(mixture)}>of {name}</button> <Link className="quiet-link" to="/jobs/$jobId" params={{ jobId: id }} search={{}}>its job</Link>
              <Text size="xs" c="dimmed" className="mono cut" title={stringify(mixture)}>{JSON.stringify(mixture)}</Text>
            </li>
          ))}
        </ul>
      </div>
      {used.size === 0 && <Text size="xs" c="dimmed">No job has been trained yet; the mixtures of jobs will stand here too.</Text>}
    </Section>
  );
}

function asCode(mixture: Mixture): Record<string, string> {
  const yaml = stringify({ mixture });
  return {
    YAML: yaml,
    curl: `curl ${quoted(`${BASE}/mixtures`)} \\\n  -H "Authorization: Bearer $FLAN_API_KEY" -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify({ mixture }, null, 2))}`,
    "Command line": `cat > mixture.yaml <<'END'\n${stringify(mixture).trimEnd()}\nEND\nflan mixture mixture.yaml --sample 5`,
  };
}
