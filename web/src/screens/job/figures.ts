/** What a run's figures are called on a page, and which are worth a look without being asked for. */

const KNOWN: Record<string, [title: string, unit?: string]> = {
  "train/loss": ["Loss", "nats per target token"],
  "train/smoothed_loss": ["Loss, smoothed by the run", "nats per target token"],
  "train/learning_rate": ["Learning rate"],
  "train/gradient_norm": ["Gradient norm"],
  "train/tokens_per_s": ["Speed", "tokens/s"],
  "train/target_tokens_per_s": ["Speed, learned", "target tokens/s"],
  "train/seconds_per_step": ["Time per step", "s"],
  "train/mfu": ["MFU", "share of the device's arithmetic"],
  "train/data_wait_share": ["Waiting for data", "share of the time"],
  "train/target_tokens": ["Target tokens learned"],
  "memory/rss_bytes": ["Memory of rank 0", "bytes"],
  "memory/device_peak_bytes": ["Device memory of rank 0, peak", "bytes"],
};

const USUAL = ["train/loss", "train/learning_rate", "train/gradient_norm", "train/tokens_per_s", "train/mfu", "memory/device_peak_bytes", "memory/rss_bytes"];

export function titleOf(name: string): { title: string; unit: string | undefined; isLoss: boolean } {
  const isLoss = name.endsWith("loss") || /^(task|cluster)_loss\//.test(name) || /\/loss/.test(name);
  const [title, unit] = KNOWN[name] ?? [name];
  return { title, unit: unit ?? (isLoss ? "nats per target token" : undefined), isLoss };
}

/** Of these, the ones that say how a run goes. A serve job has others: all of them then, up to six. */
export function usual(names: readonly string[]): string[] {
  const found = USUAL.filter((name) => names.includes(name));
  const clusters = names.filter((name) => name.startsWith("cluster") && name.includes("loss")).slice(0, 4);
  return found.length > 0 ? [...found.slice(0, 6), ...clusters] : names.slice(0, 6);
}
