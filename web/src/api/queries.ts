/** What screens read: one entry for each thing the API has, with how often it is worth asking again. */

import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, body, everything, type JobKind, type JobState, type Schemas } from "./client";

/** A list of jobs is asked for again this often; a page that is not looked at does not ask. */
const OFTEN_MS = 3_000;
const SELDOM_MS = 15_000;

export interface JobsWanted {
  state?: JobState | undefined;
  kind?: JobKind | undefined;
  name?: string | undefined;
  find?: string | undefined;
  model?: string | undefined;
  sweep?: string | undefined;
  after?: string | undefined;
  limit?: number | undefined;
}

const present = <T extends object>(wanted: T) =>
  Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined && value !== "")) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };

export const session = queryOptions({
  queryKey: ["session"],
  queryFn: () => body(api.GET("/session")),
  staleTime: Infinity,
});

export const jobs = (wanted: JobsWanted) =>
  queryOptions({
    queryKey: ["jobs", wanted],
    queryFn: () => body(api.GET("/jobs", { params: { query: present(wanted) } })),
    refetchInterval: OFTEN_MS,
    placeholderData: keepPreviousData,
  });

export const job = (id: string) =>
  queryOptions({
    queryKey: ["job", id],
    queryFn: () => body(api.GET("/jobs/{job_id}", { params: { path: { job_id: id } } })),
  });

export const checkpoints = (id: string) =>
  queryOptions({
    queryKey: ["job", id, "checkpoints"],
    queryFn: () =>
      everything((after) =>
        api.GET("/jobs/{job_id}/checkpoints", {
          params: { path: { job_id: id }, query: present({ after, limit: 100 }) },
        }),
      ),
  });

export const attempts = (id: string) =>
  queryOptions({
    queryKey: ["job", id, "attempts"],
    queryFn: () =>
      everything((after) =>
        api.GET("/jobs/{job_id}/attempts", {
          params: { path: { job_id: id }, query: present({ after, limit: 100 }) },
        }),
      ),
  });

export const children = (id: string) =>
  queryOptions({
    queryKey: ["job", id, "children"],
    queryFn: () =>
      everything((after) =>
        api.GET("/jobs/{job_id}/children", {
          params: { path: { job_id: id }, query: present({ after, limit: 100 }) },
        }),
      ),
  });

export const results = (id: string) =>
  queryOptions({
    queryKey: ["job", id, "results"],
    queryFn: () => body(api.GET("/jobs/{job_id}/results", { params: { path: { job_id: id } } })),
  });

/** What a mixture is made of; until the next one is there, the last one stays. */
export const mixturePreview = (request: { mixture: Record<string, unknown>; sample: number; model?: string; leakage_rows?: number }) =>
  queryOptions({
    queryKey: ["mixture", request],
    queryFn: ({ signal }) => body(api.POST("/mixtures", { body: request as unknown as Schemas["MixtureRequest"], signal })),
    staleTime: 60_000,
    retry: false,
    placeholderData: keepPreviousData,
  });

/** Evaluations side by side, or one sweep's. */
export const report = (ids: readonly string[], paired: boolean) =>
  queryOptions({
    queryKey: ["report", ids, paired],
    queryFn: () => body(api.GET("/report", { params: { query: { job: [...ids], paired } } })).then((found) => found as Schemas["ReportShape"]),
    staleTime: 60_000,
    retry: false,
    placeholderData: keepPreviousData,
  });

export const models = queryOptions({
  queryKey: ["models"],
  queryFn: () => everything((after) => api.GET("/models", { params: { query: present({ after, limit: 100 }) } })),
  refetchInterval: SELDOM_MS,
});

export const modelVersions = (name: string) =>
  queryOptions({
    queryKey: ["models", name, "versions"],
    queryFn: () =>
      everything((after) =>
        api.GET("/models/{name}/versions", { params: { path: { name }, query: present({ after, limit: 100 }) } }),
      ),
  });

export const served = queryOptions({
  queryKey: ["served"],
  queryFn: () => body(api.GET("/v1/models")).then((list) => list.data.map((model) => model.id)),
  refetchInterval: OFTEN_MS,
});

/** What is served, by how many replicas, and how busy they are; a replica may take seconds to say so. */
export const deployments = queryOptions({
  queryKey: ["deployments"],
  queryFn: () => everything((after) => api.GET("/deployments", { params: { query: present({ after, limit: 100 }) } })),
  refetchInterval: OFTEN_MS,
});

export const nodes = queryOptions({
  queryKey: ["nodes"],
  queryFn: () => everything((after) => api.GET("/nodes", { params: { query: present({ after, limit: 100 }) } })),
  refetchInterval: SELDOM_MS,
});

export const keys = queryOptions({
  queryKey: ["keys"],
  queryFn: () => everything((after) => api.GET("/keys", { params: { query: present({ after, limit: 100 }) } })),
});

export const version = queryOptions({
  queryKey: ["version"],
  queryFn: () => body(api.GET("/version")),
  staleTime: Infinity,
});

export const clusters = (collection: "flan" | "synthetic") =>
  queryOptions({
    queryKey: ["clusters", collection],
    queryFn: () =>
      everything((after) => api.GET("/clusters", { params: { query: present({ collection, after, limit: 100 }) } })),
    staleTime: Infinity,
  });

export const tasks = (collection: "flan" | "synthetic") =>
  queryOptions({
    queryKey: ["tasks", collection],
    queryFn: () =>
      everything((after) => api.GET("/tasks", { params: { query: present({ collection, after, limit: 100 }) } })),
    staleTime: Infinity,
  });

/** Of one task, as it comes with the platform. */
export const task = (name: string) =>
  queryOptions({
    queryKey: ["task", name],
    queryFn: () => body(api.GET("/tasks/{name}", { params: { path: { name } } })),
    staleTime: Infinity,
    retry: false,
  });

export const templateSets = queryOptions({
  queryKey: ["template-sets"],
  queryFn: () => everything((after) => api.GET("/template-sets", { params: { query: present({ after, limit: 100 }) } })),
});

/** `name` or `name@3`. */
export const templateSet = (reference: string) =>
  queryOptions({
    queryKey: ["template-sets", reference],
    queryFn: () => body(api.GET("/template-sets/{name}", { params: { path: { name: reference } } })),
    retry: false,
  });

/** `name` or `name@3`. */
export const dataset = (reference: string) =>
  queryOptions({
    queryKey: ["datasets", reference],
    queryFn: () => body(api.GET("/datasets/{name}", { params: { path: { name: reference } } })),
    retry: false,
  });

export const templateSetVersions = (name: string) =>
  queryOptions({
    queryKey: ["template-sets", name, "versions"],
    queryFn: () =>
      everything((after) =>
        api.GET("/template-sets/{name}/versions", { params: { path: { name }, query: present({ after, limit: 100 }) } }),
      ),
  });

export const templateSetDiff = (name: string, from: number, to: number) =>
  queryOptions({
    queryKey: ["template-sets", name, "diff", from, to],
    queryFn: () => body(api.GET("/template-sets/{name}/diff", { params: { path: { name }, query: { from, to } } })),
    staleTime: Infinity,
  });

/** Rows through templates, as a model would see them; until the next are there, the last ones stay. */
export const rendering = (request: Partial<Schemas["RenderRequest"]>) =>
  queryOptions({
    queryKey: ["render", request],
    queryFn: () => body(api.POST("/render", { body: request as Schemas["RenderRequest"] })),
    staleTime: 60_000,
    retry: false,
    placeholderData: keepPreviousData,
  });

export const openapi = queryOptions({
  queryKey: ["openapi"],
  queryFn: async () => {
    const { ask, BASE } = await import("./client");
    return (await ask(`${BASE}/openapi.json`)).json() as Promise<OpenApi>;
  },
  staleTime: Infinity,
});

export interface OpenApi {
  components: { schemas: Record<string, JsonSchema> };
}

/** As much of JSON Schema as the specs' use. */
export interface JsonSchema {
  title?: string;
  description?: string;
  type?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  prefixItems?: JsonSchema[];
  additionalProperties?: JsonSchema | boolean;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  discriminator?: { propertyName: string; mapping?: Record<string, string> };
  $ref?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  pattern?: string;
  maxLength?: number;
}
