/**
 * The interval that a proportion lies in, from a number of trials: exact (Clopper and Pearson 1934), from the binomial
 * distribution itself, so that it holds for any proportion and any number of trials, 0 % and 100 % too.
 * @see C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
 *   Biometrika 26 (1934)
 */

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** ln(n!) for n up to `most`. */
function logFactorials(most: number): Float64Array {
  const logs = new Float64Array(most + 1);
  for (let n = 2; n <= most; n++) logs[n] = (logs[n - 1] as number) + Math.log(n);
  return logs;
}

/** The probability of at least `hits` of `trials`, each with probability `p`, strictly between 0 and 1. */
function atLeast(hits: number, trials: number, p: number, logs: Float64Array): number {
  const log = (n: number): number => logs[n] as number;
  let sum = 0;
  for (let k = hits; k <= trials; k++) {
    const ways = log(trials) - log(k) - log(trials - k);
    sum += Math.exp(ways + k * Math.log(p) + (trials - k) * Math.log1p(-p));
  }
  return sum;
}

/** Where an ascending function of a probability passes `value`. */
function solve(ascending: (p: number) => number, value: number): number {
  let low = 0;
  let high = 1;
  for (let halvings = 0; halvings < 50; halvings++) {
    const middle = (low + high) / 2;
    if (ascending(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * The Clopper-Pearson interval of a proportion.
 * @param error the probability that it misses the true proportion, at most: 0.001 for an interval of 99.9 %
 */
export function clopperPearson(hits: number, trials: number, error: number): Interval {
  const logs = logFactorials(trials);
  const low = hits === 0 ? 0 : solve((p) => atLeast(hits, trials, p, logs), error / 2);
  const high = hits === trials ? 1 : solve((p) => atLeast(hits + 1, trials, p, logs), 1 - error / 2);
  return { low, high };
}
