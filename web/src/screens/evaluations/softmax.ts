/** Log-probabilities of options as shares of one: what they are among each other. */
export function softmax(logprobs: readonly number[]): number[] {
  const most = Math.max(...logprobs);
  const weights = logprobs.map((each) => Math.exp(each - most));
  const all = weights.reduce((sum, each) => sum + each, 0);
  return weights.map((each) => each / all);
}
