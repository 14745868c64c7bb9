/** An example token by token: what is read is quiet, what the loss counts is marked. */

import { Group, Text, Tooltip } from "@mantine/core";
import type { Tokens } from "../api/client";
import { count } from "./numbers";

export function TokensView({ tokens }: { tokens: Tokens }) {
  return (
    <div>
      <div className="tokens" tabIndex={0} role="group" aria-label={`${count(tokens.num_tokens)} tokens, ${count(tokens.num_target)} of them to be written`}>
        {tokens.parts.map((part, number) => part.ids.map((id, i) => (
          <Token key={`${number}/${i}`} text={part.texts[i] ?? ""} spelled={part.tokens[i] ?? ""} id={id} part={part.name} isCounted={part.loss_mask[i] === 1} />
        )))}
      </div>
      <TokenLegend />
      <Text size="xs" c="dimmed" className="figures">
        {count(tokens.num_input)} read, {count(tokens.num_target)} to be written; the longest input is {count(tokens.input_length)}
        {tokens.target_fits ? "" : " · the target does not fit: training leaves this example out"}
        {tokens.cut === null ? "" : ` · ${tokens.cut.field} was cut by ${count(tokens.cut.text.length)} characters`}
      </Text>
    </div>
  );
}

export function Token({ text, spelled, id, part, isCounted }: { text: string; spelled?: string; id: number; part: string; isCounted: boolean }) {
  const isText = part === "input" || part === "target";
  const shown = text === "" ? (spelled ?? "") : text;
  return (
    <Tooltip label={`${spelled === undefined || spelled === "" ? "" : `${spelled} · `}id ${id} · ${part}${isCounted ? " · the loss counts it" : ""}`} openDelay={80}>
      <span className={`token ${isCounted ? "counted" : ""} ${isText ? "" : "special"}`}>{shown.replaceAll("\n", "⏎\n")}</span>
    </Tooltip>
  );
}

export function TokenLegend() {
  return (
    <Group gap="md" my={6}>
      <Text size="xs" c="dimmed"><span className="token">read</span></Text>
      <Text size="xs" c="dimmed"><span className="token counted">the loss counts it</span></Text>
      <Text size="xs" c="dimmed"><span className="token special">not text</span></Text>
    </Group>
  );
}
