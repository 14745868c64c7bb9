/** Curves over steps: drawn on a canvas, so that ten runs of thirty thousand points move smoothly. */

import { ActionIcon, Box, Group, Text, Tooltip, useComputedColorScheme } from "@mantine/core";
import { useEffect, useMemo, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { MOST_POINTS } from "../api/journal";
import { thinned } from "../api/series";
import { Icon } from "./icons";
import { figure, short } from "./numbers";
import { savePicture } from "./save";

/** Told apart by people who see colours differently, on light and on dark ground (Okabe and Ito's, deepened). */
const COLORS = {
  light: ["#4c3dbd", "#b45309", "#0f766e", "#be185d", "#1d4ed8", "#4d7c0f", "#7c2d12", "#0e7490", "#6b21a8", "#52525b"],
  dark: ["#a599f3", "#f5b04c", "#4fd1c5", "#f687b3", "#7aa7ff", "#b7d96b", "#e9a07c", "#6dd3ee", "#d09af5", "#c4c4cc"],
};

export interface Curve {
  label: string;
  steps: readonly number[];
  values: readonly (number | null)[];
  /** Drawn faintly, behind the others: the raw figure of a smoothed one. */
  faint?: boolean;
  /** Which colour; curves of one number belong together. */
  color: number;
}

export interface Mark {
  step: number;
  label: string;
}

const NO_MARKS: Mark[] = [];

export function Chart({ title, unit, curves, marks = NO_MARKS, height = 220, isLog = false, sync }: {
  title: string; unit?: string; curves: Curve[]; marks?: Mark[]; height?: number; isLog?: boolean; sync?: string;
}) {
  const scheme = useComputedColorScheme("light");
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const marked = useRef(marks);
  marked.current = marks;
  const data = useMemo(() => joined(curves), [curves]);
  const shape = curves.map((curve) => `${curve.label}/${curve.color}/${curve.faint ?? false}`).join("|");
  const hasPoints = data[0].length > 0;
  const latest = useRef(data);
  latest.current = data;

  useEffect(() => {
    const element = place.current;
    // Of no points there is no scale, and no axis to draw.
    if (element === null || !hasPoints) return;
    const ink = scheme === "dark" ? "#a3a8b8" : "#5c6270";
    const line = scheme === "dark" ? "#2d2f3a" : "#e9e9f0";
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, size: 4 }, font: "11px system-ui, sans-serif" };
    const made = new uPlot({
      width: element.clientWidth,
      height,
      scales: { x: { time: false }, y: isLog ? { distr: 3 } : {} },
      legend: { show: false },
      cursor: { points: { size: 6 }, drag: { x: true, y: false }, ...(sync === undefined ? {} : { sync: { key: sync } }) },
      axes: [{ ...axis, size: 30, values: (_, ticks) => ticks.map((tick) => short(tick)) }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : short(tick))) }],
      series: [{}, ...curves.map((curve) => ({
        label: curve.label,
        stroke: colorOf(curve, scheme),
        width: curve.faint === true ? 1 : 1.8,
        ...(curve.faint === true ? { alpha: 0.3 } : {}),
        spanGaps: true,
        points: { show: curve.steps.length < 2 },
      }))],
      hooks: { drawAxes: [(drawn) => drawMarks(drawn, marked.current, ink)], setCursor: [(drawn) => tell(drawn, element)] },
    }, latest.current, element);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
    // The data is set below: a chart is made anew only where its shape changes.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape, scheme, height, isLog, sync, hasPoints]);

  useEffect(() => plot.current?.setData(data), [data]);
  // Without its paths: that would set the range of steps to what it is now, and of a chart just made it is nothing yet.
  useEffect(() => plot.current?.redraw(false), [marks]);

  const said = curves.filter((curve) => curve.faint !== true);
  const keep = () => {
    const drawn = plot.current?.ctx.canvas;
    const colors = scheme === "dark" ? { ground: "#1b1c24", ink: "#e6e7ee" } : { ground: "#ffffff", ink: "#1f2328" };
    if (drawn !== undefined) savePicture(drawn, title, said.map((curve) => ({ label: curve.label, color: colorOf(curve, scheme) })), colors);
  };
  return (
    <Box component="figure" m={0}>
      <Group justify="space-between" mb={4} gap="xs" component="figcaption">
        <Text size="sm" fw={600}>{title}{unit === undefined ? "" : <Text span size="xs" c="dimmed" fw={400}> {unit}</Text>}</Text>
        <Group gap="sm" style={{ flex: 1 }} justify="flex-end">
          {said.map((curve) => (
            <Group key={curve.label} gap={5} wrap="nowrap">
              <span aria-hidden="true" style={{ width: 10, height: 3, borderRadius: 2, background: colorOf(curve, scheme) }} />
              <Text size="xs" className="figures">{said.length > 1 ? `${curve.label} ` : ""}<b>{figure(curve.values.at(-1) ?? null)}</b></Text>
            </Group>
          ))}
          <Tooltip label="Save as a picture">
            <ActionIcon variant="subtle" color="gray" size="sm" aria-label={`Save ${title} as a picture`} disabled={!hasPoints} onClick={keep}><Icon name="save" size={15} /></ActionIcon>
          </Tooltip>
        </Group>
      </Group>
      <div ref={place} role="img" aria-label={summary(title, said)} style={{ height, position: "relative" }} />
    </Box>
  );
}

function colorOf(curve: Curve, scheme: "light" | "dark"): string {
  return COLORS[scheme][curve.color % COLORS[scheme].length] ?? "#777";
}

function summary(title: string, curves: Curve[]): string {
  const each = curves.map((curve) => `${curve.label}: ${curve.values.length} points, now ${figure(curve.values.at(-1) ?? null)}`);
  return `${title}. ${each.join(". ")}`;
}

function joined(curves: Curve[]): uPlot.AlignedData {
  const tables = curves.map((curve) => thinned(curve.steps, curve.values, MOST_POINTS) as uPlot.AlignedData);
  return tables.length === 0 ? [[]] : uPlot.join(tables);
}

function drawMarks(plot: uPlot, marks: readonly Mark[], ink: string): void {
  const { ctx } = plot;
  const { top, height, left, width } = plot.bbox;
  ctx.save();
  ctx.strokeStyle = ink;
  ctx.globalAlpha = 0.5;
  ctx.setLineDash([3, 4]);
  for (const { step } of marks) {
    const x = plot.valToPos(step, "x", true);
    if (x < left || x > left + width) continue;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
  ctx.restore();
}

/** What is under the pointer, in words beside it. */
function tell(plot: uPlot, place: HTMLElement): void {
  const { idx, left } = plot.cursor;
  let note = place.querySelector<HTMLElement>("[data-note]");
  if (idx == null || left == null || left < 0) {
    note?.remove();
    return;
  }
  if (note === null) {
    note = document.createElement("div");
    note.dataset["note"] = "";
    Object.assign(note.style, {
      position: "absolute", top: "6px", pointerEvents: "none", padding: "4px 8px", borderRadius: "6px", fontSize: "12px",
      background: "var(--surface)", border: "1px solid var(--line)", whiteSpace: "pre", fontVariantNumeric: "tabular-nums", zIndex: "2",
    });
    place.append(note);
  }
  const lines = plot.series.slice(1).flatMap((series, i) => {
    const value = plot.data[i + 1]?.[idx];
    return value == null ? [] : [`${String(series.label)}  ${figure(value)}`];
  });
  note.textContent = [`step ${plot.data[0][idx]}`, ...lines].join("\n");
  const isLeft = left > plot.over.clientWidth / 2;
  note.style.left = isLeft ? "62px" : "auto";
  note.style.right = isLeft ? "auto" : "8px";
}
