/** Beginnings of specs: small ones that run in minutes, and the published ones. */

import type { JobKind } from "../../api/client";
import type { Spec } from "./form";

export interface Preset {
  title: string;
  about: string;
  spec: Spec;
}

const small = { steps: 200, tokens_per_step: 1_920, input_length: 256, target_length: 64, checkpoint_every: 100, log_every: 5 };

export const PRESETS: Record<JobKind, Preset[]> = {
  tune: [
    {
      title: "Small, on made-up rows", about: "A model from scratch, in minutes on a CPU; entailment is held out.",
      spec: { kind: "tune", name: "first", base: "preset:nano", mixture: { collection: "synthetic", hold_out: { clusters: ["entailment"] } }, ...small },
    },
    {
      title: "FLAN 2021", about: "The published mixture and its settings; give the base that you have.",
      spec: { kind: "tune", name: "flan2021", base: "", mixture: { preset: "flan2021" } },
    },
    { title: "FLAN 2022", about: "The larger collection, with its parts and their weights.", spec: { kind: "tune", name: "flan2022", base: "", mixture: { preset: "flan2022" } } },
    { title: "LoRA", about: "Low-rank additions to a model that stays as it is.", spec: { kind: "tune", name: "adapted", base: "", method: { kind: "lora", rank: 8 }, mixture: { collection: "synthetic" }, ...small } },
  ],
  evaluate: [
    { title: "One cluster", about: "Every template of every task of a cluster.", spec: { kind: "evaluate", name: "measured", model: "", collection: "synthetic", tasks: ["cluster:entailment"], limit: 200 } },
    { title: "FLAN 2021, zero-shot", about: "All tasks of the publication.", spec: { kind: "evaluate", name: "flan2021-zero-shot", model: "", suite: "flan2021/all" } },
  ],
  serve: [{ title: "A model", about: "It answers under the job's name until it is undeployed.", spec: { kind: "serve", name: "served", model: "" } }],
  sweep: [
    { title: "Held-out clusters, tiny", about: "The paper's protocol on made-up rows.", spec: { kind: "sweep", name: "clusters", preset: "cluster-sweep", scale: "tiny" } },
    { title: "Number of clusters, tiny", about: "How the number of clusters tuned on counts.", spec: { kind: "sweep", name: "num-clusters", preset: "num-clusters", scale: "tiny" } },
    { title: "Instructions, tiny", about: "What the instructions themselves are worth.", spec: { kind: "sweep", name: "instructions", preset: "instructions", scale: "tiny" } },
  ],
};
