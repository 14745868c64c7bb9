/** Ask served models: let them write, or have them choose among options; two of them beside each other. */

import { Button, Card, Checkbox, Group, NumberInput, SegmentedControl, Select, SimpleGrid, Stack, TagsInput, Text, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { api, ask, BASE, body, type Schemas } from "../../api/client";
import { jobs, served } from "../../api/queries";
import { playgroundRoute } from "../../app/router";
import { Asked } from "../../parts/asked";
import { CodeTabs } from "../../parts/code";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { count, figure, percent } from "../../parts/numbers";
import { Page } from "../../parts/page";
import { python, quoted } from "../job/as-code";
import type { Json } from "../job/asked-spec";
import { PromptTokens } from "./prompt-tokens";
import { Vote, type Row } from "./vote";
import { classifyBody, DEFAULTS, generate, generateBody, UNSET, type Classified, type Question, type Sampling, type Written } from "./answers";

type Mode = "write" | "choose";

export function PlaygroundScreen() {
  const query = useQuery(served);
  const starting = useQuery(jobs({ kind: "serve", state: "running", limit: 5 })).data?.data.length ?? 0;
  return (
    <Page title="Playground" about="Questions to served models, through the API that programs use">
      <Asked query={query}>
        {(names) => names.length > 0 ? <Desk names={names} /> : (
          <Empty title={starting > 0 ? "A model is starting …" : "No model is served"} code={"flan models deploy NAME\nflan classify NAME 'Good or bad? What a film!' --option good --option bad"}>
            Serve one from the page of a <Link to="/models">model</Link>, or from a shell:
          </Empty>
        )}
      </Asked>
    </Page>
  );
}

function Desk({ names }: { names: string[] }) {
  const search = playgroundRoute.useSearch();
  const navigate = playgroundRoute.useNavigate();
  const set = (change: Partial<typeof search>) => void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const mode: Mode = search.mode ?? "choose";
  const model = names.find((name) => name === search.model) ?? names[0] ?? "";
  const beside = names.find((name) => name === search.beside);
  const [prompt, setPrompt] = useState("");
  const [options, setOptions] = useState(["yes", "no"]);
  const [isShown, setShown] = useState(true);
  const [sampling, setSampling] = useState<Sampling>(UNSET);
  const [asked, setAsked] = useState<{ number: number; body: Record<string, unknown>; bare: Record<string, unknown> | null } | null>(null);
  const [wantsBare, setBare] = useState(false);
  const [voted, setVoted] = useState<Row | null>(null);
  const bodyFor = (name: string): Record<string, unknown> => {
    const question: Question = { model: name, prompt };
    return mode === "write" ? generateBody(question, sampling) : classifyBody(question, options, isShown);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const bare = mode === "choose" && wantsBare && options.length > 0 ? classifyBody({ model, prompt }, options, !isShown) : null;
    setVoted(null);
    setAsked((before) => ({ number: (before?.number ?? 0) + 1, body: bodyFor(model), bare }));
  };
  const isReady = prompt.trim() !== "" && (mode === "write" || options.length !== 1);
  const modelNames = [model, ...(beside === undefined ? [] : [beside])];
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
      <form onSubmit={submit}>
        <Card>
          <Stack>
            <Group gap="sm" align="flex-end">
              <Select label="Model" size="xs" data={names} value={model} allowDeselect={false} onChange={(name) => set({ model: name ?? undefined })} style={{ flex: "1 1 150px" }} />
              <Select label="Beside it" size="xs" placeholder="no other" clearable data={names.filter((name) => name !== model)} value={beside ?? null} onChange={(name) => set({ beside: name ?? undefined })} style={{ flex: "1 1 150px" }} clearButtonProps={{ "aria-label": "No other model" }} />
              <SegmentedControl size="xs" value={mode} onChange={(value) => { setAsked(null); set({ mode: value as Mode }); }} data={[{ value: "choose", label: "Choose" }, { value: "write", label: "Write" }]} aria-label="What the model does" />
            </Group>
            <FromTask onPrompt={(text, choices) => { setVoted(null); setPrompt(text); if (choices.length > 0) { setOptions([]); set({ mode: "choose" }); } }} onVote={(row) => { setAsked(null); setVoted(row); }} />
            <Textarea label="Instruction" autosize minRows={6} maxRows={18} value={prompt} onChange={(event) => setPrompt(event.currentTarget.value)}
              placeholder={"It rains and the window is open.\n\nDoes it follow that the floor gets wet?"} required
              onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit(); }} />
            {mode === "choose" ? (
              <Options options={options} onChange={setOptions} isShown={isShown} onShown={setShown} wantsBare={wantsBare} onBare={setBare} />
            ) : <SamplingControls sampling={sampling} onChange={setSampling} />}
            <Group justify="space-between">
              <Text size="xs" c="dimmed">Ctrl + Enter asks</Text>
              <Button type="submit" disabled={!isReady}>{mode === "write" ? "Write" : "Choose"}</Button>
            </Group>
          </Stack>
        </Card>
      </form>
      <Stack>
        {voted !== null ? modelNames.map((name) => <Vote key={`${voted.task}/${voted.row}/${name}`} row={voted} model={name} />) : asked === null ? (
          <Empty title="The answer comes here">{mode === "write" ? "Word by word, as the model writes it." : "How probable each option is as the whole answer, and how much of all the model would write they make up."}</Empty>
        ) : (
          <>
            {modelNames.map((name) => mode === "write"
              ? <WrittenAnswer key={`${asked.number}/${name}`} request={{ ...asked.body, model: name }} />
              : <ChosenAnswer key={`${asked.number}/${name}`} request={{ ...asked.body, model: name }} title={name} />)}
            {asked.bare !== null && <ChosenAnswer key={`${asked.number}/bare`} request={asked.bare} title={`${model}, ${isShown ? "options not shown in the prompt" : "options shown in the prompt"}`} />}
          </>
        )}
        {prompt.trim() !== "" && <PromptTokens served={model} prompt={prompt} options={mode === "choose" ? options : []} isShown={isShown} />}
        {prompt.trim() !== "" && <details><summary style={{ cursor: "pointer" }}><Text span size="sm">As code</Text></summary><CodeTabs texts={requestAsCode(mode === "write" ? "/generate" : "/classify", bodyFor(model))} /></details>}
      </Stack>
    </SimpleGrid>
  );
}

/** A row of a task, as training and evaluation would ask about it: through one template, or through all of them. */
function FromTask({ onPrompt, onVote }: { onPrompt: (text: string, choices: readonly string[]) => void; onVote: (row: Row) => void }) {
  const [task, setTask] = useState("");
  const [row, setRow] = useState(0);
  const name = task.trim();
  const render = useMutation({
    mutationFn: () => body(api.POST("/render", { body: { task: name, template: 0, indices: [row] } as unknown as Schemas["RenderRequest"] })),
    onSuccess: ({ data: [shown] }) => { if (shown?.input != null) onPrompt(shown.input, shown.choices ?? []); },
  });
  return (
    <Stack gap={4}>
      <Group gap="xs" align="flex-end">
        <TextInput size="xs" label="Begin with a row of a task" placeholder="rule_pairs" value={task} onChange={(event) => setTask(event.currentTarget.value)} style={{ flex: "1 1 140px" }} spellCheck={false}
          onKeyDown={(event) => { if (event.key === "Enter") { event.preventDefault(); render.mutate(); } }} />
        <NumberInput size="xs" label="Row" w={76} min={0} allowDecimal={false} hideControls value={row} onChange={(value) => setRow(typeof value === "number" ? value : 0)} />
        <Button size="xs" variant="default" disabled={name === ""} loading={render.isPending} onClick={() => render.mutate()}>Fill in</Button>
        <Button size="xs" variant="default" disabled={name === ""} onClick={() => onVote({ task: name, row })}>Ask through all templates</Button>
      </Group>
      {render.error !== null && <ErrorCard error={render.error} />}
    </Stack>
  );
}

function Options({ options, onChange, isShown, onShown, wantsBare, onBare }: {
  options: string[]; onChange: (options: string[]) => void; isShown: boolean; onShown: (is: boolean) => void; wantsBare: boolean; onBare: (is: boolean) => void;
}) {
  return (
    <Stack gap={6}>
      <TagsInput label="Options" description="Enter adds one; pasted lines are one each" placeholder={options.length === 0 ? "those of the OPTIONS block that ends the instruction" : "another"} value={options} onChange={onChange} splitChars={["\n"]} clearable clearButtonProps={{ "aria-label": "No options" }} />
      {options.length > 0 && (
        <Group gap="lg">
          <Checkbox size="xs" label="Shown in the prompt, as an OPTIONS block" checked={isShown} onChange={(event) => onShown(event.currentTarget.checked)} />
          <Checkbox size="xs" label="Ask the other way too" checked={wantsBare} onChange={(event) => onBare(event.currentTarget.checked)} />
        </Group>
      )}
    </Stack>
  );
}

function SamplingControls({ sampling, onChange }: { sampling: Sampling; onChange: (sampling: Sampling) => void }) {
  const field = (name: keyof Sampling, label: string, standard: number | null, step: number, min: number, max?: number) => (
    <NumberInput key={name} size="xs" label={label} placeholder={standard === null ? "drawn" : String(standard)} value={sampling[name] ?? ""} step={step} min={min} {...(max === undefined ? {} : { max })} w={112}
      onChange={(value) => onChange({ ...sampling, [name]: typeof value === "number" ? value : null })} />
  );
  return (
    <Stack gap={4}>
      <Group gap="sm">
        {field("temperature", "Temperature", DEFAULTS.temperature, 0.1, 0)}
        {field("top_k", "Top k", DEFAULTS.top_k, 1, 0)}
        {field("top_p", "Top p", DEFAULTS.top_p, 0.05, 0, 1)}
        {field("repetition_penalty", "Repetition", DEFAULTS.repetition_penalty, 0.1, 0.1, 10)}
        {field("max_new_tokens", "Most tokens", DEFAULTS.max_new_tokens, 16, 1)}
        {field("seed", "Seed", null, 1, 0)}
      </Group>
      <Text size="xs" c="dimmed">Empty: the deployment’s own; a deployment that says nothing has temperature 0.9 and top-k 40. Temperature 0 takes the most probable token each time.</Text>
    </Stack>
  );
}

function WrittenAnswer({ request }: { request: Record<string, unknown> }) {
  const [answer, setAnswer] = useState<Written>({ text: "", finish: null, usage: null, seed: null });
  const [error, setError] = useState<unknown>(null);
  const [isOver, setOver] = useState(false);
  const stop = useRef<() => void>(() => undefined);
  const first = useRef(request);
  useEffect(() => {
    const controller = new AbortController();
    stop.current = () => controller.abort();
    void (async () => {
      try {
        for await (const piece of generate(first.current, controller.signal)) {
          setAnswer((now) => ({ ...now, ...piece, text: now.text + (piece.text ?? "") }));
        }
      } catch (raised) {
        if (!controller.signal.aborted) setError(raised);
      }
      setOver(true);
    })();
    return () => controller.abort();
  }, []);
  return (
    <Card>
      <Group justify="space-between" mb={6}>
        <Text size="sm" fw={600}>{String(request["model"])}</Text>
        {!isOver && <Button size="compact-xs" variant="default" onClick={() => stop.current()}>Stop</Button>}
      </Group>
      {error !== null ? <ErrorCard error={error} /> : (
        <>
          <Text className="words" aria-live="polite" mih={24} data-answer>{answer.text}{!isOver && <span className="breathes">▍</span>}</Text>
          <Text size="xs" c="dimmed" mt={8} className="figures">
            {[answer.usage === null ? null : `${count(answer.usage.prompt_tokens)} tokens read, ${count(answer.usage.completion_tokens)} written`, answer.finish === "length" ? "cut at its longest" : null, answer.seed === null ? null : `seed ${answer.seed}`].filter(Boolean).join(" · ")}
          </Text>
        </>
      )}
    </Card>
  );
}

function ChosenAnswer({ request, title }: { request: Record<string, unknown>; title: string }) {
  const query = useQuery({
    queryKey: ["classify", request],
    queryFn: async ({ signal }) => {
      const response = await ask(`${BASE}/classify`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal });
      return (await response.json()) as Classified;
    },
    staleTime: Infinity,
    gcTime: 0,
  });
  return (
    <Card>
      <Text size="sm" fw={600} mb="xs">{title}</Text>
      <Asked query={query} lines={2}>{(answer) => <Bars answer={answer} />}</Asked>
    </Card>
  );
}

function Bars({ answer }: { answer: Classified }) {
  return (
    <Stack gap={8}>
      {answer.scores.map((score, index) => {
        const isChosen = index === answer.index;
        return (
          <div key={index} data-option={score.option}>
            <Group justify="space-between" gap="xs" wrap="nowrap">
              <Text size="sm" fw={isChosen ? 700 : 400} className="words">{score.option}{isChosen && <Text span size="xs" c="dimmed" fw={400}> · chosen</Text>}</Text>
              <Text size="sm" className="figures" fw={isChosen ? 700 : 400} style={{ whiteSpace: "nowrap" }}>{percent(score.probability)} <Text span size="xs" c="dimmed" fw={400}>{figure(score.logprob, 3)} nats, {score.num_tokens} tokens</Text></Text>
            </Group>
            <div style={{ height: 8, borderRadius: 4, background: "var(--soft)", overflow: "hidden" }}>
              <div style={{ height: "100%", width: `${100 * score.probability}%`, background: isChosen ? "var(--accent)" : "var(--mantine-color-dimmed)", borderRadius: 4 }} />
            </div>
          </div>
        );
      })}
      <Text size="xs" c="dimmed" className="figures">
        Writing freely, the model would write one of these with a probability of {percent(answer.option_mass, 2)}
        {answer.margin == null ? "" : ` · the choice leads by ${figure(answer.margin, 3)} nats`}{answer.tied ? " · tied: the first was taken" : ""} · {count(answer.usage.prompt_tokens)} tokens read
      </Text>
    </Stack>
  );
}

function requestAsCode(path: string, request: Record<string, unknown>): Record<string, string> {
  const json = JSON.stringify(request, null, 2);
  return {
    curl: `curl ${quoted(`${BASE}${path}`)} \\\n  -H "Authorization: Bearer $FLAN_API_KEY" -H 'Content-Type: application/json' \\\n  -d ${quoted(json)}`,
    Python: `import os\nimport httpx\n\nanswer = httpx.post(\n    "${BASE}${path}",\n    headers={"Authorization": f"Bearer {os.environ['FLAN_API_KEY']}"},\n    json=${python(request as Json, "    ")},\n)\nprint(answer.raise_for_status().json())`,
  };
}
