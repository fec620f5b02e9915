/**
 * The rule of the Arm architecture on changing live entries, as a check of a run: what `src/check/break-before-make.ts` has
 * noted. Systems watch for it where the architecture has the rule and TLBs keep all they may.
 */
import { type BreakBeforeMake, describeViolation } from '../break-before-make.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'break-before-make';

export const breakBeforeMake: CheckDefinition = {
  name: NAME,
  rule: 'A live entry goes through an invalid one, an invalidation and barriers before it maps something else.',
  source:
    'Arm ARM, "TLB maintenance requirements" and "Using break-before-make when updating translation table entries"',
  attach(watch) {
    const noted = watch.breakBeforeMake;
    if (noted === null) return;
    let told = 0;
    watch.onTables({
      written: () => {
        told = tell(watch, noted, told);
      },
    });
    watch.atEnd(() => {
      told = tell(watch, noted, told);
    });
  },
};

function tell(watch: Watch, { violations }: BreakBeforeMake, told: number): number {
  for (const violation of violations.slice(told)) watch.report(NAME, describeViolation(violation).join('; '));
  return violations.length;
}
