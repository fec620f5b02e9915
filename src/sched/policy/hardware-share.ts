/** How often policies that choose by chance let the hardware and the outside do something: one choice in sixteen. */
import type { SeededRandom } from '../../base/random.ts';

const CHOICES_PER_EVENT = 16;

/**
 * Index of what happens beside steps and interrupts, each as likely as the others; -1: a task or an interrupt comes next.
 * Draws nothing where nothing else is offered, so that runs without hardware choices stay what they were.
 * @param ordinary candidates that are steps and interrupts: they come first
 */
export function hardwareShare(random: SeededRandom, ordinary: number, count: number): number {
  if (ordinary === count || random.below(CHOICES_PER_EVENT) > 0) return -1;
  return ordinary + random.below(count - ordinary);
}
