/** A form made from a spec's schema. What is written most stands open, the rest is folded. */

import { Badge, Box, NumberInput, Select, Stack, Switch, TagsInput, Text, TextInput, Textarea } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState, type ReactNode } from "react";
import { parse, stringify } from "yaml";
import { ApiError } from "../../api/client";
import { models, type OpenApi } from "../../api/queries";
import { HeldOut } from "./held-out";
import { fieldsOf, valueAt, withValue, type Field, type Spec } from "./form";
import type { Json } from "../job/asked-spec";

const FIRST: Record<string, string[]> = {
  tune: ["name", "base", "mixture", "steps", "tokens_per_step", "optimizer", "resources"],
  evaluate: ["name", "model", "suite", "collection", "tasks", "split", "limit", "few_shot"],
  serve: ["name", "model", "sampling"],
  sweep: ["name", "preset", "scale", "bases", "max_parallel"],
};

/** What a schema says of a field, with what it marks as code shown so. */
function words(about: string | undefined): ReactNode {
  return about?.split("`").map((part, index) => (index % 2 === 1 ? <span key={index} className="mono" style={{ fontSize: "0.95em" }}>{part}</span> : part));
}

interface Editing {
  spec: Spec;
  faults: ReadonlyMap<string, string>;
  onChange: (spec: Spec) => void;
}

export function Form({ openapi, kind, spec, error, onChange }: { openapi: OpenApi; kind: string; spec: Spec; error: unknown; onChange: (spec: Spec) => void }) {
  const fields = useMemo(() => fieldsOf(openapi, kind), [openapi, kind]);
  const order = FIRST[kind] ?? [];
  const first = order.flatMap((name) => fields.filter((field) => field.name === name));
  const rest = fields.filter((field) => !order.includes(field.name));
  const editing: Editing = { spec, faults: faultsOf(error), onChange };
  return (
    <Stack gap="sm">
      {first.map((field) => <OneField key={field.name} field={field} editing={editing} />)}
      {kind === "tune" && <HeldOut spec={spec} onChange={onChange} />}
      <Fold title="Everything else" fields={rest} editing={editing}>{rest.map((field) => <OneField key={field.name} field={field} editing={editing} />)}</Fold>
    </Stack>
  );
}

/** Pointer → what the API has against the value there. */
function faultsOf(error: unknown): ReadonlyMap<string, string> {
  if (!(error instanceof ApiError)) return new Map();
  return new Map(error.problem.errors.flatMap((fault) => (fault.pointer == null ? [] : [[fault.pointer, fault.message] as const])));
}

function Fold({ title, about, fields, editing, children }: { title: string; about?: string | undefined; fields: Field[]; editing: Editing; children: ReactNode }) {
  const set = fields.filter((field) => valueAt(editing.spec, field.path) !== undefined).length;
  const isAtFault = [...editing.faults.keys()].some((pointer) => fields.some((field) => pointer.startsWith(`/${field.path.join("/")}`)));
  const [isOpen, setOpen] = useState(false);
  return (
    <details open={isOpen || isAtFault} onToggle={(event) => setOpen(event.currentTarget.open)} style={{ border: "1px solid var(--line)", borderRadius: 8, padding: "8px 12px" }}>
      <summary style={{ cursor: "pointer" }} title={about}>
        <Text span size="sm" fw={500}>{title}</Text>
        {set > 0 && <Badge ml="xs" size="sm" variant="outline" tt="none" style={{ color: "var(--mantine-color-text)" }}>{set} set</Badge>}
      </summary>
      <Stack gap="sm" mt="sm">{(isOpen || isAtFault) && children}</Stack>
    </details>
  );
}

function OneField({ field, editing }: { field: Field; editing: Editing }) {
  const { spec, faults, onChange } = editing;
  const value = valueAt(spec, field.path);
  const set = (next: Json | undefined) => onChange(withValue(spec, field.path, next, field.standard));
  const label = field.name.replaceAll("_", " ");
  const common = { label, description: words(field.about), error: faults.get(`/${field.path.join("/")}`), required: field.isRequired, size: "xs" as const };
  const standard = field.standard == null ? "" : typeof field.standard === "object" ? JSON.stringify(field.standard) : String(field.standard);
  if (field.path.length === 1 && (field.name === "base" || field.name === "model")) return <ModelField {...common} value={typeof value === "string" ? value : ""} onChange={set} isBase={field.name === "base"} />;
  switch (field.kind) {
    case "group":
      return <Fold title={label} about={field.about} fields={field.fields} editing={editing}>{field.fields.map((inner) => <OneField key={inner.name} field={inner} editing={editing} />)}</Fold>;
    case "flag":
      return <Switch label={label} description={field.about} size="xs" checked={(value ?? field.standard) === true} onChange={(event) => set(event.currentTarget.checked)} />;
    case "choice":
      return <Select {...common} data={field.choices} placeholder={standard} value={typeof value === "string" || typeof value === "number" ? String(value) : null} clearable clearButtonProps={{ "aria-label": `Default of ${label}` }}
        onChange={(next) => set(next === null ? undefined : field.isWhole ? Number(next) : next)} />;
    case "number":
      return <NumberInput {...common} placeholder={standard} value={typeof value === "number" ? value : ""} allowDecimal={!field.isWhole} {...(field.least === undefined ? {} : { min: field.least })} {...(field.most === undefined ? {} : { max: field.most })} clampBehavior="none" thousandSeparator=","
        onChange={(next) => set(typeof next === "number" ? next : undefined)} />;
    case "texts":
      return <TagsInput {...common} placeholder={Array.isArray(value) ? "" : standard} value={Array.isArray(value) ? value.map(String) : []} onChange={(next) => set(next.length === 0 ? undefined : next)} splitChars={[","]} clearable clearButtonProps={{ "aria-label": `Default of ${label}` }} />;
    case "text":
      return <TextInput {...common} placeholder={standard} value={typeof value === "string" ? value : ""} onChange={(event) => set(event.currentTarget.value === "" ? (field.isRequired ? "" : undefined) : event.currentTarget.value)} spellCheck={false} />;
    case "document":
      return <DocumentField {...common} value={value} onChange={set} standard={standard} />;
  }
}

interface Common {
  label: string;
  description: ReactNode;
  error: string | undefined;
  required: boolean;
  size: "xs";
}

function ModelField({ value, onChange, isBase, ...common }: Common & { value: string; onChange: (value: Json) => void; isBase: boolean }) {
  const { data } = useQuery(models);
  const known = [...(isBase ? ["preset:nano", "preset:micro", "preset:nano-t5"] : []), ...(data ?? []).flatMap((model) => [model.id, ...model.aliases.map((alias) => `${model.name}@${alias}`)])];
  return (
    <Box>
      <TextInput {...common} value={value} onChange={(event) => onChange(event.currentTarget.value)} list={`known-${isBase ? "bases" : "models"}`} spellCheck={false} autoComplete="off" />
      <datalist id={`known-${isBase ? "bases" : "models"}`}>{known.map((name) => <option key={name} value={name} />)}</datalist>
    </Box>
  );
}

/** A value of several shapes, written as YAML. */
function DocumentField({ value, onChange, standard, ...common }: Common & { value: Json | undefined; onChange: (value: Json | undefined) => void; standard: string }) {
  const [text, setText] = useState(() => (value === undefined ? "" : stringify(value).trimEnd()));
  const [fault, setFault] = useState<string>();
  return (
    <Textarea {...common} error={fault ?? common.error} autosize minRows={1} maxRows={12} placeholder={standard} value={text} classNames={{ input: "mono" }} spellCheck={false}
      onChange={(event) => {
        const next = event.currentTarget.value;
        setText(next);
        try {
          onChange(next.trim() === "" ? undefined : (parse(next) as Json));
          setFault(undefined);
        } catch (error) {
          setFault(error instanceof Error ? error.message.split("\n")[0] : "not YAML");
        }
      }} />
  );
}

