/** Placeholder of the interface of src/sched/search until that is there. */
import { SeededRandom } from '../../base/random.ts';
import type { Policy } from '../../sched/policy/policy.ts';
import { RandomPolicy } from '../../sched/policy/random.ts';
import { StallingPolicy } from '../../sched/policy/stalling.ts';
import type { ExploreSettings } from './config.ts';

export interface Search {
  readonly name: string;
  next(): Policy | null;
  ended(): void;
  readonly progress: { readonly runs: number; readonly distinctStates: number; readonly depth: number };
}

export function createSearch({ policy, seed, shard }: ExploreSettings): Search {
  let runs = 0;
  return {
    name: policy,
    next() {
      const number = shard.index + runs++ * shard.count;
      const own = new SeededRandom((seed * 0x9e37_79b1 + number) | 0).below(2 ** 31 - 1);
      const stalls = policy === 'stalling' || (policy !== 'random' && number % 2 === 1);
      return stalls ? new StallingPolicy(own) : new RandomPolicy(own);
    },
    ended() {},
    get progress() {
      return { runs, distinctStates: 0, depth: 0 };
    },
  };
}
