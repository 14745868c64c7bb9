/** Every model, by name. */

import { Group, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { models } from "../../api/queries";
import { modelsRoute } from "../../app/router";
import { Asked } from "../../parts/asked";
import { Empty } from "../../parts/empty";
import { LinkButton } from "../../parts/links";
import { Icon } from "../../parts/icons";
import { short } from "../../parts/numbers";
import { Page } from "../../parts/page";
import { Ago } from "../../parts/time";
import { Deployments } from "./deployments";

export function ModelsScreen() {
  const query = useQuery(models);
  const { find } = modelsRoute.useSearch();
  const navigate = useNavigate();
  return (
    <Page title="Models">
      <Asked query={query}>
        {(all) => {
          if (all.length === 0) {
            return <Empty title="No model yet" code="flan jobs create -f tune.yaml --follow">A tune job makes two: the tuned model, and, where it starts from a preset, the base as it was at step 0. <Link to="/new-job" search={{ kind: "tune" }}>Tune one here</Link>, or from a shell:</Empty>;
          }
          const shown = all.filter((model) => model.name.includes(find ?? ""));
          return (
            <Stack gap="sm">
              <Deployments />
              <TextInput size="xs" w={260} aria-label="Find a model" placeholder="part of a name" leftSection={<Icon name="search" size={14} />} value={find ?? ""}
                onChange={(event) => void navigate({ to: "/models", search: { find: event.currentTarget.value || undefined }, replace: true })} />
              <div className="sheet">
                <Table style={{ minWidth: 820 }} highlightOnHover>
                  <Table.Thead><Table.Tr>{["Model", "Newest", "Aliases", "Parameters", "Clusters seen", "Served as", "Made", ""].map((name, i) => <Table.Th key={i} {...(name === "" ? { "aria-label": "Actions" } : {})}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
                  <Table.Tbody>
                    {shown.map((model) => (
                      <Table.Tr key={model.id}>
                        <Table.Td><Link className="row-link" to="/models/$name" params={{ name: model.name }} search={{}}>{model.name}</Link><Text size="xs" c="dimmed">{model.role} · {model.card.contract.architecture}</Text></Table.Td>
                        <Table.Td>@{model.version}</Table.Td>
                        <Table.Td>{model.aliases.map((alias) => `@${alias}`).join(", ")}</Table.Td>
                        <Table.Td>{short(model.card.num_parameters)}</Table.Td>
                        <Table.Td>{model.card.lineage.clusters_seen?.length ?? "not known"}</Table.Td>
                        <Table.Td>{model.served_as.join(", ")}</Table.Td>
                        <Table.Td><Ago at={model.created_at} /></Table.Td>
                        <Table.Td><Group gap={6} wrap="nowrap" justify="flex-end">{model.served_as[0] === undefined
                          ? <LinkButton to="/new-job" search={{ kind: "serve", model: model.id }} size="compact-xs" variant="default">Serve</LinkButton>
                          : <LinkButton to="/playground" search={{ model: model.served_as[0] }} size="compact-xs" variant="default">Ask it</LinkButton>}</Group></Table.Td>
                      </Table.Tr>
                    ))}
                  </Table.Tbody>
                </Table>
              </div>
            </Stack>
          );
        }}
      </Asked>
    </Page>
  );
}
