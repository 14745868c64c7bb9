/** The form of a mixture: which tasks, what is held out, by which rule they are drawn. */

import { Checkbox, Group, NumberInput, SegmentedControl, Select, SimpleGrid, Stack, TagsInput, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { models, tasks } from "../../api/queries";
import { mixturesRoute } from "../../app/router";
import { HeldOut } from "../new-job/held-out";
import { isObject } from "../job/asked-spec";
import { heldOutOf, isLeaf, PRESETS, with_, withHoldOut, type Mixture } from "./mixture";

const RATES = [
  { value: "rows", label: "by rows, up to a maximum" }, { value: "each_template", label: "each template by rows" },
  { value: "t0", label: "T0: divided where large" }, { value: "t0_divided", label: "T0: always divided" },
];
const OPTIONS = [{ value: "flan2021", label: "one layout" }, { value: "flan2022", label: "layout drawn" }, { value: "none", label: "not shown" }];

export function Compose({ mixture, onChange }: { mixture: Mixture; onChange: (mixture: Mixture) => void }) {
  const { model, leakage } = mixturesRoute.useSearch();
  const navigate = mixturesRoute.useNavigate();
  const known = (useQuery(models).data ?? []).map((each) => each.id);
  const collection = mixture["collection"] === "synthetic" ? "synthetic" : "flan";
  const isOwn = isLeaf(mixture);
  const hasParts = Array.isArray(mixture["parts"]) && mixture["parts"].length > 0;
  const held = heldOutOf(mixture);
  const number = (name: string, label: string, standard: number, min: number, step: number) => (
    <NumberInput size="xs" label={label} placeholder={String(standard)} min={min} step={step} value={typeof mixture[name] === "number" ? mixture[name] : ""}
      onChange={(value) => onChange(with_(mixture, { [name]: typeof value === "number" ? value : standard }))} />
  );
  return (
    <Stack gap="sm">
      {hasParts ? <Text size="sm">A mixture of parts: it is written under YAML.</Text> : (
        <Group gap="sm" align="flex-end">
          <SegmentedControl size="xs" aria-label="Collection" value={collection} data={[{ value: "flan", label: "FLAN" }, { value: "synthetic", label: "Made-up rows" }]}
            onChange={(next) => onChange(next === "synthetic" ? { collection: next } : { missing: "drop" })} />
          <Select size="xs" label="Preset" placeholder="none" clearable clearButtonProps={{ "aria-label": "No preset" }} w={150} data={PRESETS} value={typeof mixture["preset"] === "string" ? mixture["preset"] : null}
            onChange={(preset) => onChange(preset === null ? with_(mixture, { preset: null }) : { preset, missing: "drop" })} />
        </Group>
      )}
      {isOwn && <Selectors mixture={mixture} collection={collection} onChange={onChange} />}
      <HeldOut spec={{ mixture }} onChange={(spec) => { const next = spec["mixture"]; onChange(isObject(next) ? with_(next, {}) : {}); }} />
      {isOwn && (
        <Group gap="lg">
          <Checkbox size="xs" label="Neighbours fall too" checked={held["adjacent"] !== "ignore"} onChange={(event) => onChange(withHoldOut(mixture, { adjacent: event.currentTarget.checked ? "exclude" : "ignore" }))} />
          <Checkbox size="xs" label="What shares its texts falls too" checked={held["lineage"] === "exclude"} onChange={(event) => onChange(withHoldOut(mixture, { lineage: event.currentTarget.checked ? "exclude" : "ignore" }))} />
          <Checkbox size="xs" label="Go on without what is not here" checked={mixture["missing"] === "drop"} onChange={(event) => onChange(with_(mixture, { missing: event.currentTarget.checked ? "drop" : "fail" }))} />
        </Group>
      )}
      {isOwn && (
        <SimpleGrid cols={2} spacing="sm" verticalSpacing="sm">
          <Select size="xs" label="Rates" data={RATES} allowDeselect={false} value={String(mixture["rates"] ?? "rows")} onChange={(rates) => onChange(with_(mixture, { rates }))} />
          {number("rate_maximum", "Counts for at most", 3_000, 1, 500)}
          {number("temperature", "Temperature", 1, 0.1, 0.5)}
          {number("templates_per_task", "Templates a task", 10, 1, 1)}
          {number("examples_cap", "Rows a task at most", 30_000, 1, 1_000)}
          <Select size="xs" label="Answer choices" data={OPTIONS} allowDeselect={false} value={String(mixture["options"] ?? "flan2021")} onChange={(options) => onChange(with_(mixture, { options }))} />
        </SimpleGrid>
      )}
      {isOwn && <Checkbox size="xs" label="Inverted templates too" checked={mixture["include_inverted"] !== false} onChange={(event) => onChange(with_(mixture, { include_inverted: event.currentTarget.checked }))} />}
      <Group gap="sm" align="flex-end">
        <Select size="xs" label="Measure in tokens of" placeholder="words" clearable clearButtonProps={{ "aria-label": "Measure in words" }} w={190} data={known} value={model ?? null}
          onChange={(next) => void navigate({ search: (now) => ({ ...now, model: next ?? undefined }), replace: true })} />
        <Select size="xs" label="Compare with what is held out" w={220} allowDeselect={false} value={String(leakage ?? 0)} data={[{ value: "0", label: "not now" }, { value: "100", label: "100 rows of each task" }, { value: "1000", label: "1,000 rows of each task" }]}
          onChange={(next) => void navigate({ search: (now) => ({ ...now, leakage: next === "0" || next === null ? undefined : Number(next) }), replace: true })} />
      </Group>
    </Stack>
  );
}

function Selectors({ mixture, collection, onChange }: { mixture: Mixture; collection: "flan" | "synthetic"; onChange: (mixture: Mixture) => void }) {
  const known = useQuery(tasks(collection)).data ?? [];
  const clusters = [...new Set(known.map((task) => `cluster:${task.cluster}`))].sort();
  const value = Array.isArray(mixture["tasks"]) ? mixture["tasks"].map(String) : ["*"];
  return (
    <TagsInput size="xs" label="Tasks" description="* is all; a cluster, a task, an uploaded set; with - before it, it is taken away" value={value} clearable={false} maxDropdownHeight={260}
      data={[{ group: "Clusters", items: clusters }, { group: "Tasks", items: known.map((task) => task.id) }]}
      onChange={(next) => onChange(with_(mixture, { tasks: next.length === 0 ? ["*"] : next }))} />
  );
}
