/** Numbers as people read them. Each says its unit; what is not known is a dash. */

export const UNKNOWN = "–";

const whole = new Intl.NumberFormat("en");

/** 12,345 */
export function count(value: number | null | undefined): string {
  return value == null ? UNKNOWN : whole.format(Math.round(value));
}

/** 1 task, 12,345 tasks */
export function many(value: number, one: string): string {
  return `${count(value)} ${one}${value === 1 ? "" : "s"}`;
}

/** At most `digits` digits that mean something: 0.00123, 2.88, 1,234,568, 3e-9. */
export function figure(value: number | null | undefined, digits = 4): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e15) return value.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, "e").replace("e+", "e");
  if (size >= 10 ** digits) return whole.format(Math.round(value));
  return String(Number(value.toPrecision(digits)));
}

/** 1.2 k, 3.4 M: where a place is narrow. */
export function short(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  const steps: [number, string][] = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]];
  const [size, unit] = steps.find(([least]) => Math.abs(value) >= least) ?? [1, ""];
  return unit === "" ? figure(value, 3) : `${Number((value / size).toPrecision(3))}${unit}`;
}

/** 1.5 MiB */
export function bytes(value: number | null | undefined): string {
  if (value == null) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const step = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  return `${Number((value / 1024 ** step).toPrecision(3))} ${units[step]}`;
}

/** A share between 0 and 1 as 12.3 %; what is nearly nothing or nearly all is not shown as that. */
export function percent(share: number | null | undefined, decimals = 1): string {
  if (share == null || !Number.isFinite(share)) return UNKNOWN;
  const least = 10 ** -decimals;
  const shown = 100 * share;
  if (shown > 0 && shown < least) return `< ${least} %`;
  if (shown < 100 && shown > 100 - least) return `> ${100 - least} %`;
  return `${shown.toFixed(decimals)} %`;
}

/** 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return UNKNOWN;
  const all = Math.max(0, Math.round(seconds));
  const [days, hours, minutes, rest] = [Math.floor(all / 86_400), Math.floor(all / 3_600) % 24, Math.floor(all / 60) % 60, all % 60];
  const parts: [number, string][] = [[days, "d"], [hours, "h"], [minutes, "min"], [rest, "s"]];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first === -1) return "0 s";
  return parts.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount} ${unit}`).join(" ");
}
