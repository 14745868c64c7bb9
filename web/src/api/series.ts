/** One figure over steps, as it grows. A step that is told again overwrites: a resumed run takes steps a second time. */

export class Series {
  readonly steps: number[] = [];
  readonly values: (number | null)[] = [];

  put(step: number, value: number | null): void {
    const last = this.steps.at(-1);
    if (last === undefined || step > last) {
      this.steps.push(step);
      this.values.push(value);
      return;
    }
    const at = this.placeOf(step);
    if (this.steps[at] === step) this.values[at] = value;
    else {
      this.steps.splice(at, 0, step);
      this.values.splice(at, 0, value);
    }
  }

  get last(): number | null {
    return this.values.at(-1) ?? null;
  }

  /** Where `step` is, or would be. */
  private placeOf(step: number): number {
    let [low, high] = [0, this.steps.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.steps[middle] ?? 0) < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * An exponential mean that does not lean on its first values: each is divided by the weight it has so far.
 * `keep` is what is kept over `every` steps: a point that stands for a longer stretch weighs as much as what it stands for.
 */
export function smoothed(steps: readonly number[], values: readonly (number | null)[], keep: number, every: number): (number | null)[] {
  let [sum, weight, before] = [0, 0, (steps[0] ?? 0) - every];
  return values.map((value, i) => {
    if (value === null) return null;
    const step = steps[i] ?? 0;
    const kept = keep ** Math.max(1, (step - before) / every);
    before = step;
    sum = kept * sum + (1 - kept) * value;
    weight = kept * weight + (1 - kept);
    return sum / weight;
  });
}

/** At most about `most` points of a curve, with the lowest and highest of every stretch: no peak is lost. */
export function thinned(steps: readonly number[], values: readonly (number | null)[], most: number): [number[], (number | null)[]] {
  if (steps.length <= most) return [[...steps], [...values]];
  const stretch = Math.ceil((2 * steps.length) / most);
  const kept: number[] = [];
  for (let start = 0; start < steps.length; start += stretch) {
    let [low, high] = [start, start];
    const end = Math.min(start + stretch, steps.length);
    for (let i = start; i < end; i++) {
      const value = values[i] ?? null;
      if (value === null) continue;
      if (value < (values[low] ?? Infinity)) low = i;
      if (value > (values[high] ?? -Infinity)) high = i;
    }
    kept.push(...(low === high ? [low] : low < high ? [low, high] : [high, low]));
  }
  return [kept.map((i) => steps[i] ?? 0), kept.map((i) => values[i] ?? null)];
}
