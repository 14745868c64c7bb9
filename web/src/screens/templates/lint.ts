/** What lint says of a set that is there, or of a task that comes with the platform. */

import { useQuery } from "@tanstack/react-query";
import { api, ask, BASE, body, type Finding, type Schemas, type TaskDocument } from "../../api/client";
import { useMay } from "../../app/session";
import { extensionOf } from "./draft";

export interface Linted {
  findings: readonly Finding[];
  numRows?: number;
}

/** An uploaded set is looked at as it is; of a task its templates are, as if somebody uploaded them under another name. */
export function useLint(name: string, document: TaskDocument, isUploaded: boolean) {
  const mayWrite = useMay("data:write");
  return useQuery({
    queryKey: ["lint", name, isUploaded],
    queryFn: async (): Promise<Linted> => {
      if (!isUploaded) return { findings: await check(extensionOf(document)) };
      const found = await body(api.POST("/template-sets/{name}/lint", { params: { path: { name } }, body: {} as Schemas["RowsWanted"] }));
      return { findings: found.findings, numRows: found.num_rows };
    },
    enabled: isUploaded || mayWrite,
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
