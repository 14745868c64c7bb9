/** Server-sent events, read by hand: with the status of the answer, every type of event, and after a POST too. */

export interface Frame {
  id: string | null;
  event: string;
  data: string;
}

/** Text as it comes, in whatever pieces → whole frames. Comments (heartbeats) are passed over. */
export class FrameReader {
  private rest = "";

  push(text: string): Frame[] {
    this.rest += text;
    const frames: Frame[] = [];
    for (;;) {
      const end = /\r?\n\r?\n/.exec(this.rest);
      if (end === null) return frames;
      const frame = frameOf(this.rest.slice(0, end.index));
      this.rest = this.rest.slice(end.index + end[0].length);
      if (frame !== null) frames.push(frame);
    }
  }
}

function frameOf(text: string): Frame | null {
  const data: string[] = [];
  let id: string | null = null;
  let event = "message";
  for (const line of text.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") data.push(value ?? "");
    else if (name === "id") id = value ?? "";
    else if (name === "event") event = value ?? "";
  }
  return data.length > 0 ? { id, event, data: data.join("\n") } : null;
}

/** The frames of an answer, until it ends. */
export async function* framesOf(response: Response): AsyncGenerator<Frame> {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const frames = new FrameReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* frames.push(value);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
