/** Whether a model met a task for the first time: a word and a shape. */

import type { Schemas } from "../../api/client";

type Verdict = Schemas["TaskFigures"]["verdict"];

const SAID: Record<Verdict, [sign: string, color: string, words: string]> = {
  proven: ["●", "var(--state-succeeded)", "zero-shot: proven"],
  violated: ["◆", "var(--state-paused)", "not zero-shot"],
  unknown: ["○", "var(--mantine-color-dimmed)", "zero-shot: unknown"],
};

export function Zeroshot({ verdict }: { verdict: Verdict }) {
  const [sign, color, words] = SAID[verdict];
  return <span data-verdict={verdict}><span aria-hidden="true" style={{ color, fontSize: 10 }}>{sign}</span> {words}</span>;
}
