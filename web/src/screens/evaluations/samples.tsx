/** Questions of an evaluation, one by one: what was read, how probable each option was, what was said. */

import { Button, Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { api, body, type Sample } from "../../api/client";
import { evaluationsRoute } from "../../app/router";
import { Waiting } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { count, figure, percent } from "../../parts/numbers";
import { Section } from "../../parts/page";
import { Prompt } from "../../parts/rendered";
import { softmax } from "./softmax";

const PER_PAGE = 10;

export function Samples({ job, task, label }: { job: string; task: string; label: string }) {
  const { template, right } = evaluationsRoute.useSearch();
  const navigate = evaluationsRoute.useNavigate();
  const query = useInfiniteQuery({
    queryKey: ["job", job, "samples", task, template, right],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) => body(api.GET("/jobs/{job_id}/results/samples", {
      params: { path: { job_id: job }, query: {
        task, limit: PER_PAGE,
        ...(pageParam === undefined ? {} : { after: pageParam }),
        ...(template === undefined ? {} : { template }),
        ...(right === undefined ? {} : { is_right: right === "yes" }),
      } },
    })),
    getNextPageParam: (page) => (page.has_more ? (page.last_id ?? undefined) : undefined),
    staleTime: Infinity,
    retry: false,
  });
  const shown = query.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <Section title={`${task}: questions to ${label}`} aside={
      <SegmentedControl size="xs" aria-label="Which answers" value={right ?? "all"} onChange={(value) => void navigate({ search: (now) => ({ ...now, right: value === "yes" || value === "no" ? value : undefined }), replace: true })}
        data={[{ value: "all", label: "All" }, { value: "no", label: "Wrong" }, { value: "yes", label: "Right" }]} />
    }>
      {template !== undefined && <Text size="xs" c="dimmed">Through template {template} alone.</Text>}
      {query.error !== null ? <ErrorCard error={query.error} /> : query.isPending ? <Waiting lines={3} /> : shown.length === 0 ? <Empty title="No question fits" /> : (
        <Stack gap="xs">
          {shown.map((sample) => <One key={sample.id} sample={sample} />)}
          {query.hasNextPage && <Group><Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>More</Button></Group>}
        </Stack>
      )}
    </Section>
  );
}

function One({ sample }: { sample: Sample }) {
  const said = sample.choice ?? sample.output ?? "";
  return (
    <details className="sheet sample" data-right={sample.is_right}>
      <summary>
        <Text span size="sm" style={{ color: sample.is_right ? "var(--state-succeeded)" : "var(--state-failed)" }} fw={600}>{sample.is_right ? "right" : "wrong"}</Text>
        <Text span size="sm" className="cut sample-said">{said}</Text>
        <Text span size="xs" c="dimmed" className="figures nowrap">row {count(sample.row)} · template {sample.template}</Text>
      </summary>
      <Stack gap="xs" p="sm" pt={0}>
        <Prompt text={sample.prompt} label="What the model read" most={320} />
        {sample.options != null && sample.logprobs != null ? <Options sample={sample} options={sample.options} logprobs={sample.logprobs} /> : (
          <Text size="sm" className="words"><Text span size="xs" c="dimmed">wrote </Text>{sample.output}{sample.is_finished === false && <Text span size="xs" c="dimmed"> (cut at its longest)</Text>}</Text>
        )}
        <Text size="sm" className="words"><Text span size="xs" c="dimmed">{sample.references.length > 1 ? "any of these is right " : "right is "}</Text>{sample.references.join(" · ")}</Text>
        <Text size="xs" c="dimmed" className="figures">
          {Object.entries(sample.metrics).map(([name, value]) => `${name} ${figure(value)}`).join(" · ")}
          {sample.was_cut ? " · its long field was cut" : ""}{sample.num_exemplars > 0 ? ` · ${count(sample.num_exemplars)} solved rows before it` : ""}{sample.is_tied === true ? " · tied: the first was taken" : ""}
          {sample.option_mass == null ? "" : ` · the model would write one of the options with a probability of ${percent(sample.option_mass, 2)}`}
        </Text>
      </Stack>
    </details>
  );
}

function Options({ sample, options, logprobs }: { sample: Sample; options: readonly string[]; logprobs: readonly number[] }) {
  const shares = softmax(logprobs);
  return (
    <Stack gap={3}>
      {options.map((option, i) => (
        <div key={i} className="option">
          <Text size="sm" className="words" fw={option === sample.choice ? 700 : 400}>{option}{sample.references.includes(option) && <Text span size="xs" style={{ color: "var(--state-succeeded)" }}> right</Text>}{option === sample.choice && <Text span size="xs" c="dimmed"> chosen</Text>}</Text>
          <span className="track" aria-hidden="true"><span style={{ width: `${100 * (shares[i] ?? 0)}%` }} /></span>
          <Text size="xs" className="figures nowrap" ta="right">{percent(shares[i])} <Text span size="xs" c="dimmed">{figure(logprobs[i], 3)} nats</Text></Text>
        </div>
      ))}
    </Stack>
  );
}
