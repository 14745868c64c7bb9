/** A metric, never without how far it is to be trusted: mean ± spread over templates, and n. */

import { Tooltip } from "@mantine/core";
import { count, figure, percent } from "./numbers";

export function Measured({ mean, spread, n, templates, share = true }: { mean: number; spread: number | null; n: number; templates?: number; share?: boolean }) {
  const shown = share ? percent(mean) : figure(mean);
  const around = spread === null ? "" : ` ± ${share ? (100 * spread).toFixed(1) : figure(spread, 2)}`;
  const about = `mean of ${templates === undefined ? "the" : count(templates)} template${templates === 1 ? "" : "s"}${spread === null ? "" : " ± their standard deviation"}, n = ${count(n)} rows`;
  return (
    <Tooltip label={about}>
      <span className="figures" style={{ whiteSpace: "nowrap" }}>
        {shown}
        {around} <span style={{ color: "var(--mantine-color-dimmed)", fontSize: "0.86em" }}>n {count(n)}</span>
      </span>
    </Tooltip>
  );
}
