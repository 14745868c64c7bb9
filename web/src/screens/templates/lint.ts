/** What lint says of a set that is there, or of a task that comes with the platform, over rows of its own. */

import { useQuery } from "@tanstack/react-query";
import { api, ask, BASE, body, type Finding, type Schemas } from "../../api/client";

export function useLint(name: string) {
  return useQuery({
    queryKey: ["lint", name],
    queryFn: () => body(api.POST("/template-sets/{name}/lint", { params: { path: { name } }, body: {} as Schemas["RowsWanted"] })),
    staleTime: Infinity,
    retry: false,
  });
}

/** What would be found if this YAML were uploaded; nothing is kept. */
export async function check(yaml: string, signal?: AbortSignal): Promise<readonly Finding[]> {
  const found = (await (await post("/template-sets?dry_run=true", yaml, signal)).json()) as Schemas["UploadedTemplateSetShape"];
  return found.findings;
}

export async function upload(yaml: string): Promise<Schemas["UploadedTemplateSetShape"]> {
  return (await (await post("/template-sets", yaml)).json()) as Schemas["UploadedTemplateSetShape"];
}

function post(path: string, yaml: string, signal?: AbortSignal): Promise<Response> {
  return ask(`${BASE}${path}`, { method: "POST", headers: { "Content-Type": "application/yaml" }, body: yaml, ...(signal === undefined ? {} : { signal }) });
}
