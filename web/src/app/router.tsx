/** Which screen an address shows. A screen is fetched when it is first gone to; its filters are in the address. */

import { createHashHistory, createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { JOB_KINDS, JOB_STATES } from "../api/words";
import { NothingHere, Broken } from "../parts/errors";
import type { Json } from "../screens/job/asked-spec";
import { Shell } from "./shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NothingHere });

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : typeof value === "number" ? String(value) : undefined;
const oneOf = <T extends string>(known: readonly T[], value: unknown): T | undefined => known.find((each) => each === value);
const texts = (value: unknown): string[] | undefined => text(value)?.split(",").filter(Boolean);

/** A whole number from 0. */
function whole(value: unknown): number | undefined {
  const read = typeof value === "number" ? value : typeof value === "string" && value !== "" ? Number(value) : NaN;
  return Number.isInteger(read) && read >= 0 ? read : undefined;
}

/** A document in JSON. */
function object(value: unknown): { [name: string]: Json } | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as { [name: string]: Json }) : undefined;
}

/** What an address says; what it leaves out is not there at all. */
function given<T extends object>(search: T): { [K in keyof T]?: T[K] } {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: T[K] };
}

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  component: lazyRouteComponent(() => import("../screens/home/home"), "HomeScreen"),
});

export const jobsRoute = createRoute({
  getParentRoute: () => root,
  path: "/jobs",
  validateSearch: (search) => given({
    state: oneOf(JOB_STATES, search["state"]),
    kind: oneOf(JOB_KINDS, search["kind"]),
    find: text(search["find"]),
    after: text(search["after"]),
  }),
  component: lazyRouteComponent(() => import("../screens/jobs/jobs"), "JobsScreen"),
});

export const compareRoute = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: (search) => given({ jobs: text(search["jobs"]) }),
  component: lazyRouteComponent(() => import("../screens/jobs/compare"), "CompareScreen"),
});

export const newJobRoute = createRoute({
  getParentRoute: () => root,
  path: "/new-job",
  validateSearch: (search) => given({
    kind: oneOf(JOB_KINDS, search["kind"]),
    from: text(search["from"]),
    model: text(search["model"]),
    mixture: object(search["mixture"]),
  }),
  component: lazyRouteComponent(() => import("../screens/new-job/new-job"), "NewJobScreen"),
});

export const jobRoute = createRoute({
  getParentRoute: () => root,
  path: "/jobs/$jobId",
  validateSearch: (search) => given({
    tab: text(search["tab"]),
    charts: texts(search["charts"])?.join(","),
    with: text(search["with"]),
    rank: text(search["rank"]),
    attempt: text(search["attempt"]),
    find: text(search["find"]),
  }),
  component: lazyRouteComponent(() => import("../screens/job/job"), "JobScreen"),
});

export const modelsRoute = createRoute({
  getParentRoute: () => root,
  path: "/models",
  validateSearch: (search) => given({ find: text(search["find"]) }),
  component: lazyRouteComponent(() => import("../screens/models/models"), "ModelsScreen"),
});

export const modelRoute = createRoute({
  getParentRoute: () => root,
  path: "/models/$name",
  validateSearch: (search) => given({ version: text(search["version"]) }),
  component: lazyRouteComponent(() => import("../screens/models/model"), "ModelScreen"),
});

export const playgroundRoute = createRoute({
  getParentRoute: () => root,
  path: "/playground",
  validateSearch: (search) => given({ model: text(search["model"]), beside: text(search["beside"]), mode: oneOf(["write", "choose"] as const, search["mode"]) }),
  component: lazyRouteComponent(() => import("../screens/playground/playground"), "PlaygroundScreen"),
});

const COLLECTIONS = ["flan", "synthetic"] as const;

export const templatesRoute = createRoute({
  getParentRoute: () => root,
  path: "/templates",
  validateSearch: (search) => given({
    collection: oneOf(COLLECTIONS, search["collection"]),
    cluster: text(search["cluster"]),
    find: text(search["find"]),
    missing: oneOf(["yes"] as const, search["missing"]),
  }),
  component: lazyRouteComponent(() => import("../screens/templates/templates"), "TemplatesScreen"),
});

export const templateSetRoute = createRoute({
  getParentRoute: () => root,
  path: "/templates/$name",
  validateSearch: (search) => given({
    tab: text(search["tab"]),
    template: whole(search["template"]),
    row: whole(search["row"]),
    split: text(search["split"]),
    options: oneOf(["flan2021", "flan2022", "none"] as const, search["options"]),
    model: text(search["model"]),
    from: text(search["from"]),
    to: text(search["to"]),
  }),
  component: lazyRouteComponent(() => import("../screens/templates/template-set"), "TemplateSetScreen"),
});

export const templateEditorRoute = createRoute({
  getParentRoute: () => root,
  path: "/template-editor",
  validateSearch: (search) => given({ from: text(search["from"]) }),
  component: lazyRouteComponent(() => import("../screens/templates/editor"), "TemplateEditorScreen"),
});

export const evaluationsRoute = createRoute({
  getParentRoute: () => root,
  path: "/evaluations",
  validateSearch: (search) => given({
    jobs: text(search["jobs"]),
    view: text(search["view"]),
    find: text(search["find"]),
    paired: oneOf(["yes"] as const, search["paired"]),
    task: text(search["task"]),
    column: whole(search["column"]),
    template: whole(search["template"]),
    right: oneOf(["yes", "no"] as const, search["right"]),
  }),
  component: lazyRouteComponent(() => import("../screens/evaluations/evaluations"), "EvaluationsScreen"),
});

export const mixturesRoute = createRoute({
  getParentRoute: () => root,
  path: "/mixtures",
  validateSearch: (search) => given({
    mixture: object(search["mixture"]),
    form: oneOf(["yaml", "code"] as const, search["form"]),
    by: oneOf(["tokens"] as const, search["by"]),
    model: text(search["model"]),
    leakage: whole(search["leakage"]),
  }),
  component: lazyRouteComponent(() => import("../screens/mixtures/mixtures"), "MixturesScreen"),
});

const settings = createRoute({
  getParentRoute: () => root,
  path: "/settings",
  component: lazyRouteComponent(() => import("../screens/settings/settings"), "SettingsScreen"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    home,
    jobsRoute,
    compareRoute,
    newJobRoute,
    jobRoute,
    modelsRoute,
    modelRoute,
    templatesRoute,
    templateSetRoute,
    templateEditorRoute,
    evaluationsRoute,
    mixturesRoute,
    playgroundRoute,
    settings,
  ]),
  history: createHashHistory(),
  defaultErrorComponent: ({ error }) => <Broken error={error} />,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
