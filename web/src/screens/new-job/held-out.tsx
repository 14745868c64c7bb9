/** The clusters of the collection as a picture: hold one out, and see which neighbours fall with it, and why. */

import { SimpleGrid, Stack, Text, Tooltip, UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { clusters } from "../../api/queries";
import { many } from "../../parts/numbers";
import { isObject } from "../job/asked-spec";
import { valueAt, withValue, type Spec } from "./form";

const PATH = ["mixture", "hold_out", "clusters"];

export function HeldOut({ spec, onChange }: { spec: Spec; onChange: (spec: Spec) => void }) {
  const collection = valueAt(spec, ["mixture", "collection"]) === "synthetic" ? "synthetic" : "flan";
  const { data } = useQuery(clusters(collection));
  const mixture = spec["mixture"];
  if (data === undefined || (isObject(mixture) && (mixture["preset"] != null || mixture["parts"] != null))) return null;
  const given = valueAt(spec, PATH);
  const heldOut = Array.isArray(given) ? given.map(String) : [];
  const isAlone = valueAt(spec, ["mixture", "hold_out", "adjacent"]) === "ignore";
  const falls = new Map(isAlone ? [] : data.filter(({ id }) => heldOut.includes(id)).flatMap((cluster) => cluster.adjacent.map((id) => [id, cluster.display_name] as const)));
  const toggle = (id: string) => {
    const next = heldOut.includes(id) ? heldOut.filter((each) => each !== id) : [...heldOut, id];
    onChange(withValue(spec, PATH, next.length === 0 ? undefined : next));
  };
  return (
    <Stack gap={6}>
      <Text size="xs" fw={500}>Hold out clusters: none of their tasks is trained on, nor of their neighbours’</Text>
      <SimpleGrid cols={{ base: 2, xs: 3 }} spacing={6} verticalSpacing={6}>
        {data.map((cluster) => {
          const isHeldOut = heldOut.includes(cluster.id);
          const because = falls.get(cluster.id);
          const said = isHeldOut ? "held out" : because !== undefined ? `falls with ${because}` : many(cluster.tasks.length, "task");
          return (
            <Tooltip key={cluster.id} label={<>{cluster.tasks.join(", ")}{cluster.adjacent.length > 0 && <><br />Neighbours: {cluster.adjacent.join(", ")}</>}</>}>
              <UnstyledButton type="button" aria-pressed={isHeldOut} onClick={() => toggle(cluster.id)} p="6px 8px"
                style={{ border: `1px ${because !== undefined && !isHeldOut ? "dashed" : "solid"} ${isHeldOut ? "var(--accent)" : "var(--line)"}`, borderRadius: 8, background: isHeldOut || because !== undefined ? "var(--soft)" : "transparent" }}>
                <Text size="xs" fw={isHeldOut ? 650 : 500} className="cut" td={isHeldOut || because !== undefined ? "line-through" : undefined}>{cluster.display_name}</Text>
                <Text size="xs" c="dimmed" className="cut">{said}</Text>
              </UnstyledButton>
            </Tooltip>
          );
        })}
      </SimpleGrid>
    </Stack>
  );
}
