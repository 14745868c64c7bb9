/** A curve of a few pixels beside a name: its shape, not its figures. */

import { thinned } from "../api/series";

export function Sparkline({ steps, values, label, width = 120, height = 28 }: {
  steps: readonly number[]; values: readonly (number | null)[]; label: string; width?: number; height?: number;
}) {
  const [xs, ys] = thinned(steps, values, 80);
  const known = ys.filter((value) => value !== null);
  if (known.length < 2) return <svg width={width} height={height} aria-hidden="true" />;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const [first, last] = [xs[0] ?? 0, xs.at(-1) ?? 1];
  const points = ys.flatMap((value, i) => {
    if (value === null) return [];
    const x = (((xs[i] ?? 0) - first) / (last - first || 1)) * (width - 4) + 2;
    const y = height - 3 - ((value - low) / (high - low || 1)) * (height - 6);
    return [`${x.toFixed(1)},${y.toFixed(1)}`];
  });
  return (
    <svg width={width} height={height} role="img" aria-label={label}>
      <polyline points={points.join(" ")} fill="none" stroke="var(--accent)" strokeWidth="1.6" strokeLinejoin="round" strokeLinecap="round" />
    </svg>
  );
}
