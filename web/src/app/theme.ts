/** Colours and sizes. Colour has a meaning here: violet acts, the others are states (parts/state.tsx). */

import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from "@mantine/core";

const violet: MantineColorsTuple = [
  "#f2f0ff", "#e2deff", "#c5bdfb", "#a599f3", "#897aec", "#7564e6", "#6655df", "#5b4bd6", "#4c3dbd", "#3d31a0",
];

export const theme = createTheme({
  primaryColor: "violet",
  primaryShade: { light: 7, dark: 7 },
  colors: { violet },
  defaultRadius: "md",
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace',
  headings: { fontWeight: "650", sizes: { h1: { fontSize: "1.5rem" }, h2: { fontSize: "1.1rem" }, h3: { fontSize: "0.95rem" } } },
  components: {
    Table: { defaultProps: { verticalSpacing: 8, horizontalSpacing: "sm" } },
    Tooltip: { defaultProps: { openDelay: 250, withArrow: true, multiline: true, maw: 360 } },
    Card: { defaultProps: { withBorder: true, padding: "md" } },
    TextInput: { defaultProps: { size: "sm" } },
    Menu: { defaultProps: { shadow: "md", position: "bottom-end" } },
  },
});

/** Text that is said quietly must still be read: 4.5:1 on every surface it stands on. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-dimmed": "#5c6270",
    "--mantine-color-body": "#fbfbfd",
    "--mantine-color-default": "#ffffff",
    "--surface": "#ffffff",
    "--line": "#e4e5ec",
    "--soft": "#f3f3f8",
    "--accent": "#5243c8",
    "--mantine-color-anchor": "#5243c8",
    "--mantine-color-placeholder": "#6a7080",
    "--state-queued": "#6b7280",
    "--state-running": "#2563eb",
    "--state-paused": "#b45309",
    "--state-succeeded": "#15803d",
    "--state-failed": "#c81e1e",
    "--state-cancelled": "#6b7280",
    "--counted": "#ddd6fe",
    "--counted-ink": "#35288f",
    "--added": "#dcfce7",
    "--removed": "#fee2e2",
  },
  dark: {
    "--mantine-color-dimmed": "#a3a8b8",
    "--mantine-color-body": "#14151b",
    "--mantine-color-default": "#1c1d25",
    "--surface": "#1a1b23",
    "--line": "#2d2f3a",
    "--soft": "#22242e",
    "--accent": "#b3a8ff",
    "--mantine-color-anchor": "#b3a8ff",
    "--mantine-color-placeholder": "#9096a8",
    "--state-queued": "#9ca3af",
    "--state-running": "#7aa7ff",
    "--state-paused": "#f5b04c",
    "--state-succeeded": "#4ade80",
    "--state-failed": "#ff8080",
    "--state-cancelled": "#9ca3af",
    "--counted": "#43389b",
    "--counted-ink": "#f2f0ff",
    "--added": "#14382a",
    "--removed": "#4a2027",
  },
});
