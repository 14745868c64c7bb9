/** The API, typed by its own OpenAPI document. Every request goes through here. */

import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Job = Schemas["JobShape"];
export type JobState = Job["state"];
export type JobKind = Job["kind"];
export type JobEvent = Schemas["EventShape"];
export type Metric = Schemas["MetricShape"];
export type Checkpoint = Schemas["CheckpointShape"];
export type Attempt = Schemas["AttemptShape"];
export type Child = Schemas["ChildShape"];
export type Failure = Schemas["FailureShape"];
export type Model = Schemas["ModelShape"];
export type Deployment = Schemas["DeploymentShape"];
export type Node = Schemas["NodeShape"];
export type Key = Schemas["KeyShape"];
export type Cluster = Schemas["ClusterShape"];
export type Task = Schemas["TaskShape"];
export type TaskDocument = Schemas["Task"];
export type TemplateSet = Schemas["TemplateSetShape"];
export type Rendered = Schemas["RenderedShape"];
export type Tokens = Schemas["TokensShape"];
export type Finding = Schemas["FindingShape"];
export type MixturePreview = Schemas["MixturePreview"];
export type Report = Schemas["Report"];
export type Sample = Schemas["SampleShape"];
export type Plan = Schemas["PlanShape"];
export type Problem = Schemas["ProblemShape"];

/** Where the API is: beside the page, also behind a proxy that puts a path before it. */
export const BASE = new URL(".", document.baseURI).href.replace(/\/$/, "");

/** What a request was refused with, in the API's own words. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
    this.name = "ApiError";
  }

  get status(): number {
    return this.problem.status;
  }
}

/** Called when the session is over: whoever asks next would be refused as well. */
let onSignedOut: () => void = () => undefined;

export function whenSignedOut(then: () => void): void {
  onSignedOut = then;
}

export async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text();
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null && "detail" in body) return body as Problem;
  } catch {
    // Not the API's words: a proxy in between may answer in its own.
  }
  return problem(response.status, response.statusText || "The request failed", text.slice(0, 400));
}

function problem(status: number, title: string, detail: string): Problem {
  const known = { hint: null, instance: "", request_id: "", retryable: status === 0 || status >= 500 };
  return { type: "urn:flan:problem:http", title, status, code: "http", detail: detail || title, ...known, errors: [], values: {} };
}

/** `fetch` whose every failure is an ApiError. */
export async function ask(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(input, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(problem(0, "The platform does not answer", "The platform does not answer. It may be restarting."));
  }
  if (response.ok || response.status === 304) return response;
  if (response.status === 401) onSignedOut();
  throw new ApiError(await problemOf(response));
}

const jsonAlways: Middleware = {
  onRequest({ request }) {
    request.headers.set("Accept", "application/json");
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: BASE, fetch: ask });
api.use(jsonAlways);

/** The body of an answer; what `api` raises is an ApiError, so there always is one. */
export async function body<T>(asked: Promise<{ data?: T }>): Promise<T> {
  return (await asked).data as T;
}

interface Listed<T> {
  data: readonly T[];
  has_more: boolean;
  last_id: string | null;
}

/** Everything on every page of a list, at most `most` of it. */
export async function everything<T>(
  page: (after: string | undefined) => Promise<{ data?: Listed<T> }>,
  most = 2_000,
): Promise<T[]> {
  const found: T[] = [];
  let after: string | undefined;
  do {
    const listed = await body(page(after));
    found.push(...listed.data);
    after = listed.has_more ? (listed.last_id ?? undefined) : undefined;
  } while (after !== undefined && found.length < most);
  return found;
}
