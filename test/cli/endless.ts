/** A program that never ends: for Ctrl-C. */
import { defineScenario } from 'tablewalk';

export default defineScenario({
  title: 'a program that never ends',
  programs: {
    *computes(u) {
      for (;;) yield* u.compute(1);
    },
  },
});
