import { expect, test } from "vitest";
import { FrameReader, type Frame } from "./sse";

const TEXT =
  'retry: 2000\n\nid: 7\nevent: progress\ndata: {"seq": 7}\n\n: ping\n\nid: 8\nevent: warning\ndata: {"a": "b: c"}\ndata: more\n\nevent: stream.end\r\ndata: {}\r\n\r\nid: 9\nevent: half';

const FRAMES: Frame[] = [
  { id: "7", event: "progress", data: '{"seq": 7}' },
  { id: "8", event: "warning", data: '{"a": "b: c"}\nmore' },
  { id: null, event: "stream.end", data: "{}" },
];

test("frames are the same, wherever the text is torn apart", () => {
  for (let size = 1; size <= TEXT.length; size++) {
    const reader = new FrameReader();
    const frames: Frame[] = [];
    for (let at = 0; at < TEXT.length; at += size) frames.push(...reader.push(TEXT.slice(at, at + size)));

    expect(frames, `pieces of ${size}`).toEqual(FRAMES);
  }
});
