/** One task, or one uploaded set: its templates on real rows, what lint finds, and what changed between versions. */

import { Card, Select, Stack, Tabs } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Finding, TaskDocument, TemplateSet } from "../../api/client";
import { dataset, task as taskQuery, templateSet as setQuery, templateSetVersions } from "../../api/queries";
import { templateSetRoute } from "../../app/router";
import { Asked, Waiting } from "../../parts/asked";
import { Code } from "../../parts/code";
import { ErrorCard } from "../../parts/errors";
import { Facts } from "../../parts/facts";
import { LinkButton } from "../../parts/links";
import { count, UNKNOWN } from "../../parts/numbers";
import { Page, Section } from "../../parts/page";
import { When } from "../../parts/time";
import { nextVersionOf } from "./draft";
import { Findings, Verdict } from "./findings";
import { useLint } from "./lint";
import { useIsUploaded } from "./is-uploaded";
import { OnRows } from "./on-rows";
import { Versions } from "./versions";

export function TemplateSetScreen() {
  const { name } = templateSetRoute.useParams();
  const isUploaded = useIsUploaded(name);
  const builtIn = useQuery({ ...taskQuery(name), enabled: isUploaded === false });
  const uploaded = useQuery({ ...setQuery(name), enabled: isUploaded === true });
  if (isUploaded === true) return <Asked query={uploaded} lines={8}>{(set) => <OfSet key={set.id} set={set} />}</Asked>;
  return (
    <Asked query={builtIn} lines={8}>
      {(task) => {
        const here = Object.entries(task.rows_here);
        return (
          <Shown name={task.id} document={task.document} splits={here.map(([split]) => split)}
            facts={[
              ["Cluster", <Link key="c" className="row-link" to="/templates" search={task.collection === "synthetic" ? { cluster: task.cluster, collection: "synthetic" as const } : { cluster: task.cluster }}>{task.cluster}</Link>],
              ["Rows here", here.length === 0 ? "none" : here.map(([split, rows]) => `${split} ${rows === null ? "" : count(rows)}`).join(", ")],
              ["Rows as published", Object.entries(task.splits).map(([split, { num_rows: rows }]) => `${split} ${rows === null ? UNKNOWN : count(rows)}`).join(", ")],
              ["Licence", task.document.licence],
              ...(task.akin.length === 0 ? [] : [["Made from the same texts", <Akin key="a" names={task.akin.map((each) => each.task)} />] as [string, ReactNode]]),
            ]}
            actions={<LinkButton to="/template-editor" search={{ from: task.id }} variant="default">Write other templates</LinkButton>}
          />
        );
      }}
    </Asked>
  );
}

function Akin({ names }: { names: readonly string[] }) {
  return <>{names.slice(0, 6).map((name, index) => <span key={name}>{index > 0 && ", "}<Link className="row-link" to="/templates/$name" params={{ name }} search={{}}>{name}</Link></span>)}{names.length > 6 && ` and ${names.length - 6} more`}</>;
}

function OfSet({ set }: { set: TemplateSet }) {
  const versions = useQuery(templateSetVersions(set.name));
  const navigate = templateSetRoute.useNavigate();
  const { source } = set.document;
  const rows = useQuery({ ...dataset(source.kind === "dataset" ? source.name : ""), enabled: source.kind === "dataset" });
  const splits = "splits" in source ? source.splits : (rows.data?.splits ?? {});
  return (
    <Shown name={`${set.name}@${set.version}`} document={set.document} set={set} splits={Object.keys(splits)}
      facts={[
        ["Cluster", set.cluster],
        ["Version", `@${set.version}`],
        ["Handed in", <When key="w" at={set.created_at} />],
        ["Variant of", set.document.family ?? "nothing that is known"],
        ["Digest", <span key="d" className="mono">{set.sha256.slice(0, 12)}…</span>],
      ]}
      actions={
        <>
          {(versions.data?.length ?? 0) > 1 && <Select size="sm" w={100} aria-label="Version" allowDeselect={false} value={String(set.version)} data={(versions.data ?? []).map((each) => ({ value: String(each.version), label: `@${each.version}` }))}
            onChange={(version) => void navigate({ to: "/templates/$name", params: { name: `${set.name}@${version}` }, search: (now) => now })} />}
          <LinkButton to="/template-editor" search={{ from: `${set.name}@${set.version}` }} variant="default">Edit</LinkButton>
        </>
      }
    />
  );
}

function Shown({ name, document, set, splits, facts, actions }: {
  name: string; document: TaskDocument; set?: TemplateSet; splits: string[]; facts: [string, ReactNode][]; actions: ReactNode;
}) {
  const search = templateSetRoute.useSearch();
  const navigate = templateSetRoute.useNavigate();
  const lint = useLint(name);
  const findings = lint.data?.findings ?? [];
  const tabs = ["rendered", "findings", ...(set === undefined ? [] : ["versions"]), "document"];
  const tab = tabs.find((each) => each === search.tab) ?? "rendered";
  return (
    <Page title={set?.name ?? name} about={document.description} actions={actions}>
      <Card><Facts facts={[...facts, ["Templates", count(document.templates.length)], ["Metric", document.metrics[0] ?? UNKNOWN], ...(lint.data === undefined ? [] : [["Lint", <Verdict key="l" findings={findings} />] as [string, ReactNode]])]} /></Card>
      <Tabs value={tab} onChange={(next) => void navigate({ search: (now) => ({ ...now, tab: next ?? undefined }), replace: true })} keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="rendered">Templates</Tabs.Tab>
          <Tabs.Tab value="findings">Findings{findings.length > 0 && ` (${findings.length})`}</Tabs.Tab>
          {set !== undefined && <Tabs.Tab value="versions">Versions</Tabs.Tab>}
          <Tabs.Tab value="document">Document</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="rendered"><OnRows name={name} document={document} splits={splits} findings={findings} /></Tabs.Panel>
        <Tabs.Panel value="findings">
          {lint.error !== null ? <ErrorCard error={lint.error} /> : lint.data === undefined ? <Waiting lines={2} /> : (
            <Stack gap="sm">
              <Verdict findings={findings} numRows={lint.data.num_rows} />
              <ByTemplate findings={findings} />
            </Stack>
          )}
        </Tabs.Panel>
        {set !== undefined && <Tabs.Panel value="versions"><Versions set={set} /></Tabs.Panel>}
        <Tabs.Panel value="document"><Code text={nextVersionOf(document)} label="The document as YAML" /></Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function ByTemplate({ findings }: { findings: readonly Finding[] }) {
  const places = [...new Set(findings.map((finding) => finding.template ?? null))].sort((one, other) => (one ?? -1) - (other ?? -1));
  return <>{places.map((place) => <Section key={String(place)} title={place === null ? "Of the set" : `Template ${place}`}><Findings findings={findings.filter((finding) => (finding.template ?? null) === place)} /></Section>)}</>;
}
