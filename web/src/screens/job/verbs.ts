/** What can be done to a job as it stands, and what that does. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { notifications } from "@mantine/notifications";
import { api, body, type Job } from "../../api/client";
import { said } from "../../parts/errors";

export type Verb = "cancel" | "pause" | "resume" | "retry";

export const EFFECTS: Record<Verb, string> = {
  cancel: "Its processes are stopped for good. Checkpoints and models it has made stay; a served model stops answering.",
  pause: "It writes a checkpoint and rests. Its slots are free for others until it is resumed.",
  resume: "It goes on from its newest checkpoint as soon as slots are free.",
  retry: "It starts again from its newest checkpoint.",
};

export function verbsFor({ state, kind }: Pick<Job, "state" | "kind">): Verb[] {
  switch (state) {
    case "queued":
    case "running":
      return kind === "serve" ? ["cancel"] : ["pause", "cancel"];
    case "pausing":
      return ["cancel"];
    case "paused":
      return ["resume", "cancel"];
    case "failed":
      return ["retry"];
    default:
      return [];
  }
}

export function useVerb() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ id, verb }: { id: string; verb: Verb }) =>
      body(api.POST(`/jobs/{job_id}/${verb}`, { params: { path: { job_id: id } } })),
    onSuccess: (job) => {
      queries.setQueryData(["job", job.id], job);
      void queries.invalidateQueries({ queryKey: ["jobs"] });
    },
    onError: (error) => {
      const { title, hint } = said(error);
      notifications.show({ color: "red", title, message: hint ?? "", autoClose: 8_000 });
    },
  });
}
