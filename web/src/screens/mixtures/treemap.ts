/** Rectangles whose areas are shares: squarified, so that they can be compared and pressed. */

export interface Placed<T> {
  item: T;
  /** All in parts of the whole: 0 … 1. */
  x: number;
  y: number;
  width: number;
  height: number;
}

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/**
 * The items as rectangles that fill a box, largest first; what weighs nothing is left out. `aspect` is the
 * width of the box over its height as it is seen. Source: Bruls, Huizing and van Wijk 2000, Squarified Treemaps.
 */
export function treemap<T>(items: readonly T[], weight: (item: T) => number, aspect = 2): Placed<T>[] {
  const sorted = items.map((item) => ({ item, area: weight(item) })).filter(({ area }) => area > 0).sort((one, other) => other.area - one.area);
  const total = sorted.reduce((sum, { area }) => sum + area, 0);
  const scaled = sorted.map(({ item, area }) => ({ item, area: (area / total) * aspect }));
  const placed = laid(scaled, { x: 0, y: 0, width: aspect, height: 1 });
  return placed.map((each) => ({ ...each, x: each.x / aspect, width: each.width / aspect }));
}

function laid<T>(items: { item: T; area: number }[], box: Box): Placed<T>[] {
  const placed: Placed<T>[] = [];
  let rest = box;
  let start = 0;
  while (start < items.length) {
    const side = Math.min(rest.width, rest.height);
    let end = start + 1;
    while (end < items.length && worst(items.slice(start, end + 1), side) <= worst(items.slice(start, end), side)) end += 1;
    const row = items.slice(start, end);
    const area = row.reduce((sum, each) => sum + each.area, 0);
    const thickness = area / side;
    let at = 0;
    for (const { item, area: own } of row) {
      const length = own / thickness;
      placed.push(rest.width >= rest.height
        ? { item, x: rest.x, y: rest.y + at, width: thickness, height: length }
        : { item, x: rest.x + at, y: rest.y, width: length, height: thickness });
      at += length;
    }
    rest = rest.width >= rest.height
      ? { ...rest, x: rest.x + thickness, width: rest.width - thickness }
      : { ...rest, y: rest.y + thickness, height: rest.height - thickness };
    start = end;
  }
  return placed;
}

/** How far the rectangles of a row are from squares, the worst of them. */
function worst(row: { area: number }[], side: number): number {
  const sum = row.reduce((total, { area }) => total + area, 0);
  return Math.max(...row.map(({ area }) => Math.max((side * side * area) / (sum * sum), (sum * sum) / (side * side * area))));
}
