/** Small drawings, one stroke wide, on a grid of 24. They stand beside words and say nothing by themselves. */

const PATHS = {
  home: "M4 11 12 4l8 7v8a1 1 0 0 1-1 1h-4v-6H9v6H5a1 1 0 0 1-1-1z",
  jobs: "M4 6h10M4 12h16M4 18h7",
  model: "M12 3 4 7.5v9L12 21l8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  chat: "M5 5h14a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-8l-5 4v-4H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  templates: "M5 4h14v5H5zM5 13h6v7H5zM15 13h4v7h-4z",
  mixture: "M4 4h9v9H4zM16 4h4v5h-4zM16 12h4v8h-4zM4 16h9v4H4z",
  chart: "M4 20V4M4 20h16M8 16v-5M13 16V7M18 16v-8",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  key: "M14 14a5 5 0 1 0-4-4L3 17v4h4v-3h3v-3z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5 19 19M5 19l1.5-1.5M17.5 6.5 19 5",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
  half: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  copy: "M8 8h11v12H8zM5 16V4h11",
  check: "M5 13l4 4L19 7",
  cross: "M6 6l12 12M18 6 6 18",
  plus: "M12 5v14M5 12h14",
  dots: "M5 12h.01M12 12h.01M19 12h.01",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4 4",
  right: "M9 5l7 7-7 7",
  down: "M5 9l7 7 7-7",
  save: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  pause: "M9 5v14M15 5v14",
  play: "M7 5l12 7-12 7z",
  again: "M20 12a8 8 0 1 1-2.5-5.8M20 4v4h-4",
  warning: "M12 4 2.5 20h19zM12 10v4M12 17h.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth={name === "dots" ? 3 : 1.8}
      strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false" style={{ flex: "none" }}>
      <path d={PATHS[name]} />
    </svg>
  );
}
