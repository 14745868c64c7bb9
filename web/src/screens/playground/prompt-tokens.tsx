/** The prompt as the model reads it, token by token: with its OPTIONS block, and what stands before the answer. */

import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { models, rendering } from "../../api/queries";
import { ErrorCard } from "../../parts/errors";
import { Waiting } from "../../parts/asked";
import { RenderedView } from "../../parts/rendered";
import { promptAsDraft } from "./votes";

export function PromptTokens({ served, prompt, options, isShown }: { served: string; prompt: string; options: readonly string[]; isShown: boolean }) {
  const [isOpen, setOpen] = useState(false);
  const model = (useQuery(models).data ?? []).find((each) => each.served_as.includes(served));
  const query = useQuery({ ...rendering({ ...promptAsDraft(prompt, options, isShown), ...(model === undefined ? {} : { model: model.id }) }), enabled: isOpen && model !== undefined });
  const shown = query.data?.data[0];
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary style={{ cursor: "pointer" }}><Text span size="sm">The prompt as {served} reads it</Text></summary>
      {isOpen && <div style={{ marginTop: 8 }}>
        {model === undefined ? <Text size="sm" c="dimmed">{served} is not a registered model, so that its tokens are not known here.</Text>
          : query.error !== null ? <ErrorCard error={query.error} /> : shown === undefined ? <Waiting lines={2} />
            : <><RenderedView shown={shown} /><Text size="xs" c="dimmed">{options.length > 0 ? "The first option stands where the answer would." : "“?” stands where the answer would."}</Text></>}
      </div>}
    </details>
  );
}
