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
    let told = 0;
    const look = (): void => {
      const noted = watch.breakBeforeMake;
      if (noted !== null && noted.violations.length > told) told = tell(watch, noted, told);
    };
    watch.onRun(() => {
      told = 0;
    });
    watch.onTables({ written: look });
    watch.atEnd(look);
  },
};

function tell(watch: Watch, { violations }: BreakBeforeMake, told: number): number {
  for (const violation of violations.slice(told)) watch.report(NAME, describeViolation(violation).join('; '));
  return violations.length;
}
