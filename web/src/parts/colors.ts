/** Colours of several things side by side: told apart by people who see colours differently, on light and dark ground. */

/** Which colour a CSS variable of app/theme.ts has for series number `i`. */
export function seriesColor(i: number): string {
  return `var(--series-${i % 8})`;
}
