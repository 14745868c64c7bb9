/** The figures of a run, as they come. */

import { Card, Group, MultiSelect, SegmentedControl, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import type { Job } from "../../api/client";
import { useNames, useSeries, type Journal } from "../../api/journal";
import { checkpoints } from "../../api/queries";
import { smoothed, type Series } from "../../api/series";
import { jobRoute } from "../../app/router";
import { Waiting } from "../../parts/asked";
import { Chart, type Curve, type Mark } from "../../parts/chart";
import { Empty } from "../../parts/empty";
import { titleOf, usual } from "./figures";

export function Charts({ job, journal }: { job: Job; journal: Journal }) {
  const names = useNames(job.id, journal);
  const { charts } = jobRoute.useSearch();
  const navigate = jobRoute.useNavigate();
  const [smoothing, setSmoothing] = useState("0.9");
  const [scale, setScale] = useState("linear");
  const marks = useMarks(job);
  if (names === undefined) return <Waiting lines={6} />;
  const chosen = charts?.split(",").filter((name) => names.includes(name)) ?? usual(names);
  if (names.length === 0) {
    return (
      <Empty title="No figures yet">
        {job.state === "queued" ? "The job waits for its turn." : "They come with the first steps, and go on by themselves while this page is open."}
      </Empty>
    );
  }
  return (
    <Stack gap="md">
      <Group gap="sm" align="flex-end">
        <MultiSelect
          data={names.map((name) => ({ value: name, label: titleOf(name).title }))} value={chosen} searchable clearable size="xs" style={{ flex: "1 1 320px" }}
          label="Figures shown" maxDropdownHeight={320}
          clearButtonProps={{ "aria-label": "Show the usual figures" }}
          onChange={(now) => void navigate({ search: (before) => ({ ...before, charts: now.length === 0 ? undefined : now.join(",") }), replace: true })}
        />
        <Labelled label="Smoothing of losses">
          <SegmentedControl size="xs" value={smoothing} onChange={setSmoothing} data={[{ value: "0", label: "none" }, { value: "0.9", label: "0.9" }, { value: "0.98", label: "0.98" }]} aria-label="Smoothing of losses" />
        </Labelled>
        <Labelled label="Scale of losses">
          <SegmentedControl size="xs" value={scale} onChange={setScale} data={["linear", "log"]} aria-label="Scale of losses" />
        </Labelled>
      </Group>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        {chosen.map((name) => (
          <Card key={name} padding="sm">
            <Figure job={job} name={name} live={journal.series.get(name)} size={journal.series.get(name)?.steps.length ?? 0} smoothing={Number(smoothing)} isLog={scale === "log"} marks={marks} />
          </Card>
        ))}
      </SimpleGrid>
      {marks.length > 0 && <Text size="xs" c="dimmed">Dashed lines are checkpoints. Drag to zoom, double-click to see all.</Text>}
    </Stack>
  );
}

function Labelled({ label, children }: { label: string; children: React.ReactNode }) {
  return <Stack gap={3}><Text size="xs" fw={500}>{label}</Text>{children}</Stack>;
}

function Figure({ job, name, live, size, smoothing, isLog, marks }: {
  job: Job; name: string; live: Series | undefined; size: number; smoothing: number; isLog: boolean; marks: Mark[];
}) {
  const { title, unit, isLoss } = titleOf(name);
  const series = useSeries(job.id, name, live);
  const means = useSeries(job.id, name, live, isLoss && smoothing > 0 ? "mean" : "extremes");
  const every = Number(job.spec["log_every"] ?? 1) || 1;
  const curves = useMemo((): Curve[] => {
    if (series === undefined) return [];
    const raw = { label: title, steps: series.steps, values: series.values, color: 0 };
    if (!isLoss || smoothing === 0 || means === undefined) return [raw];
    const smooth = { ...raw, steps: means.steps, values: smoothed(means.steps, means.values, smoothing, every) };
    return [{ ...raw, label: `${title}, raw`, faint: true }, smooth];
    // The series grows in place: its size tells of it.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [series, means, size, series?.steps.length, isLoss, smoothing, every, title]);
  return <Chart title={title} {...(unit === undefined ? {} : { unit })} curves={curves} marks={marks} isLog={isLog && isLoss} sync={job.id} />;
}

function useMarks(job: Job): Mark[] {
  const { data } = useQuery({ ...checkpoints(job.id), enabled: job.kind === "tune" });
  return useMemo(() => (data ?? []).filter((each) => each.state !== "corrupt").map((each) => ({ step: each.step, label: "checkpoint" })), [data]);
}
