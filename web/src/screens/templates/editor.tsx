/** A template set written here: rendered on real rows and looked at by lint while it is written, uploaded when it is right. */

import { Button, Card, FileButton, Group, NumberInput, SegmentedControl, Stack, Text, Textarea } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { rendering, task as taskQuery, templateSet as setQuery } from "../../api/queries";
import { templateEditorRoute } from "../../app/router";
import { useMay } from "../../app/session";
import { Asked, Waiting } from "../../parts/asked";
import { Copy } from "../../parts/code";
import { ErrorCard } from "../../parts/errors";
import { many } from "../../parts/numbers";
import { Page } from "../../parts/page";
import { RenderedView } from "../../parts/rendered";
import { extensionOf, FIRST_DRAFT, nextVersionOf, numTemplates, readDraft, type Draft } from "./draft";
import { Findings, Verdict } from "./findings";
import { useIsUploaded } from "./is-uploaded";
import { check, upload } from "./lint";

export function TemplateEditorScreen() {
  const { from } = templateEditorRoute.useSearch();
  const isUploaded = useIsUploaded(from ?? "");
  const builtIn = useQuery({ ...taskQuery(from ?? ""), enabled: from !== undefined && isUploaded === false });
  const uploaded = useQuery({ ...setQuery(from ?? ""), enabled: from !== undefined && isUploaded === true });
  if (from === undefined) return <Editor first={FIRST_DRAFT} about="Other templates for a task that is there (extends), or a task of your own" />;
  if (isUploaded === true) return <Asked query={uploaded} lines={8}>{(set) => <Editor key={set.id} first={nextVersionOf(set.document)} about={`The next version of ${set.name}; @${set.version} stays what it is`} />}</Asked>;
  return <Asked query={builtIn} lines={8}>{(task) => <Editor key={task.id} first={extensionOf(task.document)} about={`Other templates for ${task.id}: its rows, fields and metric stay`} />}</Asked>;
}

function Editor({ first, about }: { first: string; about: string }) {
  const [text, setText] = useState(first);
  const [settled] = useDebouncedValue(text, 350);
  const mayWrite = useMay("data:write");
  const queries = useQueryClient();
  const navigate = useNavigate();
  const read = readDraft(settled);
  const draft = "draft" in read ? read.draft : null;
  const lint = useQuery({
    queryKey: ["draft-lint", settled], queryFn: ({ signal }) => check(settled, signal), enabled: draft !== null && mayWrite,
    retry: false, staleTime: 60_000, placeholderData: (before) => before,
  });
  const send = useMutation({
    mutationFn: () => upload(text),
    onSuccess: async (set) => {
      // The next screen asks whether a name is an uploaded set's: it must not be told by a list from before.
      await queries.invalidateQueries({ queryKey: ["template-sets"] });
      void navigate({ to: "/templates/$name", params: { name: `${set.name}@${set.version}` }, search: {} });
    },
  });
  const findings = (lint.data ?? []).map((finding) => (finding.template == null ? finding : { ...finding, message: `template ${finding.template}: ${finding.message}` }));
  return (
    <Page title="Template set" about={about} actions={
      <>
        <FileButton accept=".yaml,.yml,.json,application/yaml" onChange={(file) => { if (file !== null) void file.text().then(setText); }}>{(props) => <Button {...props} variant="default">Open a file</Button>}</FileButton>
        <Button loading={send.isPending} disabled={!mayWrite || draft === null || lint.error !== null} title={mayWrite ? undefined : "Your key may not write data"} onClick={() => send.mutate()}>Upload</Button>
      </>
    }>
      {send.error !== null && <ErrorCard error={send.error} />}
      <div className="halves">
        <Stack gap="xs">
          <Group justify="space-between"><Text size="xs" c="dimmed">YAML, as <span className="mono">flan templates push</span> takes it</Text><Copy text={text} label="Copy the YAML" /></Group>
          <Textarea aria-label="Template set as YAML" value={text} onChange={(event) => setText(event.currentTarget.value)} autosize minRows={22} maxRows={44} classNames={{ input: "mono" }} spellCheck={false}
            error={"fault" in read ? read.fault : null} />
        </Stack>
        <Stack gap="md">
          {lint.error !== null ? <ErrorCard error={lint.error} /> : lint.data !== undefined && (
            <Card padding="sm" aria-busy={lint.isFetching}><Stack gap="xs"><Verdict findings={findings} /><Findings findings={findings} /></Stack></Card>
          )}
          {draft === null ? <Text size="sm" c="dimmed">It is rendered as soon as it can be read.</Text> : lint.error === null && <Live draft={draft} />}
        </Stack>
      </div>
    </Page>
  );
}

/** One row through every template of the draft. */
function Live({ draft }: { draft: Draft }) {
  const [row, setRow] = useState(0);
  const [options, setOptions] = useState<"flan2021" | "none">("flan2021");
  const query = useQuery(rendering({ draft, indices: [row], options }));
  return (
    <Stack gap="sm">
      <Group gap="sm" align="flex-end">
        <NumberInput label="Row" size="xs" w={90} min={0} allowDecimal={false} value={row} onChange={(next) => setRow(typeof next === "number" ? next : 0)} />
        <SegmentedControl size="xs" aria-label="Answer choices" value={options} onChange={(next) => setOptions(next === "none" ? "none" : "flan2021")} data={[{ value: "flan2021", label: "with OPTIONS" }, { value: "none", label: "without" }]} />
        <Text size="xs" c="dimmed" mb={7}>through {many(numTemplates(draft), "template")}</Text>
      </Group>
      {query.error !== null ? <ErrorCard error={query.error} /> : query.data === undefined ? <Waiting lines={4} /> : query.data.data.map((shown) => (
        <Card key={shown.template} padding="sm" style={{ opacity: query.isPlaceholderData ? 0.6 : 1 }}>
          <Text size="xs" c="dimmed" mb={6}>template {shown.template}{shown.role === "inverted" ? " · inverted" : ""}</Text>
          <RenderedView shown={shown} most={220} />
        </Card>
      ))}
    </Stack>
  );
}
