/** What a rank wrote: from its first line, following, only the visible lines on the page. */

import { Box, Button, Group, NumberInput, Select, Switch, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { api, ApiError, body, type Job } from "../../api/client";
import { Lines } from "../../api/lines";
import { attempts } from "../../api/queries";
import { ENDED } from "../../api/words";
import { jobRoute } from "../../app/router";
import { Empty } from "../../parts/empty";
import { ErrorCard } from "../../parts/errors";
import { count } from "../../parts/numbers";
import { saveText } from "../../parts/save";

const LINE_PX = 18;
const HEIGHT_PX = 560;
const EVERY_MS = 1_000;

export function Logs({ job }: { job: Job }) {
  const search = jobRoute.useSearch();
  const navigate = jobRoute.useNavigate();
  const tried = useQuery(attempts(job.id)).data ?? [];
  const rank = Number(search.rank ?? 0) || 0;
  const attempt = Number(search.attempt ?? 0) || undefined;
  const { lines, error, version, isRead } = useLines(job, rank, attempt);
  const [isFollowing, setFollowing] = useState(true);
  const find = search.find ?? "";
  const shown = useMemo(() => {
    const all = lines.all;
    const wanted = find.toLowerCase();
    const numbered = all.map((text, index) => ({ text, number: index + 1 }));
    return wanted === "" ? numbered : numbered.filter(({ text }) => text.toLowerCase().includes(wanted));
    // The lines grow in place: their version tells of it.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [lines, version, find]);
  const set = (change: Record<string, string | undefined>) =>
    void navigate({ search: (now) => ({ ...now, ...change }), replace: true });
  const ranks = (job.spec["resources"] as { ranks?: number } | undefined)?.ranks ?? 1;
  const isMissing = error instanceof ApiError && error.status === 404;
  return (
    <>
      <Group gap="sm" mb="xs" align="flex-end">
        <NumberInput label="Rank" size="xs" w={80} min={0} max={Math.max(0, ranks - 1)} value={rank} onChange={(value) => set({ rank: String(value) })} />
        <Select label="Attempt" size="xs" w={130} value={attempt === undefined ? "" : String(attempt)} allowDeselect={false}
          data={[{ value: "", label: "the latest" }, ...tried.map((each) => ({ value: String(each.number), label: `${each.number}` }))]}
          onChange={(value) => set({ attempt: value === "" || value === null ? undefined : value })} />
        <TextInput label="Only lines with" size="xs" value={find} onChange={(event) => set({ find: event.currentTarget.value || undefined })} style={{ flex: "1 1 180px" }} />
        <Switch label="Follow" checked={isFollowing} onChange={(event) => setFollowing(event.currentTarget.checked)} mb={6} />
        <Button size="xs" variant="default" onClick={() => saveText(lines.all.join("\n"), `${job.name}-rank-${rank}.log`)}>Save</Button>
      </Group>
      {isMissing && lines.all.length === 0 ? (
        <Empty title="Nothing has been written yet">{error.problem.hint ?? error.message}</Empty>
      ) : error !== null && lines.all.length === 0 ? <ErrorCard error={error} /> : isRead && lines.all.length === 0 ? (
        <Empty title="This rank has written nothing">How it went is told by the charts and the timeline; here is what libraries print, and why something failed.</Empty>
      ) : (
        <LineWindow shown={shown} isRead={isRead} isFollowing={isFollowing} onScrolledUp={() => setFollowing(false)} />
      )}
      <Text size="xs" c="dimmed" mt={6} className="figures">{count(shown.length)} of {count(lines.all.length)} lines</Text>
    </>
  );
}

function LineWindow({ shown, isRead, isFollowing, onScrolledUp }: {
  shown: { text: string; number: number }[]; isRead: boolean; isFollowing: boolean; onScrolledUp: () => void;
}) {
  const place = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  useEffect(() => {
    if (isFollowing && place.current !== null) place.current.scrollTop = place.current.scrollHeight;
  }, [isFollowing, shown.length]);
  const first = Math.max(0, Math.floor(top / LINE_PX) - 20);
  const visible = shown.slice(first, first + HEIGHT_PX / LINE_PX + 40);
  return (
    <Box ref={place} className="sheet mono" tabIndex={0} role="log" aria-label="Log" aria-live="off" aria-busy={!isRead}
      style={{ height: HEIGHT_PX, overflow: "auto", contain: "strict" }}
      onScroll={(event) => {
        const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
        if (isFollowing && scrollTop < top && scrollHeight - scrollTop - clientHeight > 3 * LINE_PX) onScrolledUp();
        setTop(scrollTop);
      }}>
      <div style={{ height: shown.length * LINE_PX + 12, position: "relative" }}>
        <div style={{ position: "absolute", top: first * LINE_PX + 6, left: 0, minWidth: "100%" }}>
          {visible.map(({ text, number }) => (
            <div key={number} style={{ height: LINE_PX, lineHeight: `${LINE_PX}px`, whiteSpace: "pre", display: "flex" }}>
              <span style={{ width: 64, flex: "none", textAlign: "right", paddingRight: 12, color: "var(--mantine-color-dimmed)", userSelect: "none" }}>{number}</span>
              <span>{text}</span>
            </div>
          ))}
        </div>
      </div>
    </Box>
  );
}

/** `isRead`: what was there when the page opened has come. */
type Log = { lines: Lines; error: unknown; version: number; isRead: boolean };

function useLines(job: Job, rank: number, attempt: number | undefined): Log {
  const [state, setState] = useState<Log>(() => ({ lines: new Lines(), error: null, version: 0, isRead: false }));
  const isOver = useRef(false);
  isOver.current = ENDED.has(job.state);
  // The latest attempt is another one when the job is started again.
  const number = attempt ?? job.attempt;
  useEffect(() => {
    const lines = new Lines();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isGone = false;
    let isRead = false;
    const told = (error: unknown) => !isGone && setState((now) => ({ lines, error, version: now.version + 1, isRead }));
    told(null);
    const look = async () => {
      const wasOver = isOver.current;
      try {
        const before = lines.offset;
        let isMore = true;
        while (isMore && !isGone) {
          isMore = await readOn(lines, job.id, rank, number === 0 ? undefined : number);
          if (isMore) told(null);
        }
        const isFirst = !isRead;
        isRead = true;
        if (isFirst || lines.offset !== before) told(null);
      } catch (error) {
        isRead = true;
        told(error);
      }
      // One look more after the end: what was written last is there then.
      if (!isGone && !wasOver) timer = setTimeout(() => void look(), document.hidden ? 5 * EVERY_MS : EVERY_MS);
    };
    void look();
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, [job.id, rank, number]);
  return state;
}

/** Read what is new; whether something was. */
async function readOn(lines: Lines, jobId: string, rank: number, attempt: number | undefined): Promise<boolean> {
  const query = { rank, offset: lines.offset, ...(attempt === undefined ? {} : { attempt }) };
  const piece = await body(api.GET("/jobs/{job_id}/logs", { params: { path: { job_id: jobId }, query } }));
  const isNews = piece.next_offset > lines.offset;
  if (isNews) lines.push(piece.text, piece.next_offset);
  return isNews && piece.next_offset < piece.size_bytes;
}
