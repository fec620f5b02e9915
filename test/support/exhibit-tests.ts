/** The tests of all exhibits on one architecture, for the files that share them out. */
import { describe, expect, it } from 'vitest';
import { EXHIBITS, type Exhibit } from '../examples/bugs-table.ts';
import { type ArchitectureName, exhibitNamed, explore, findingName, replay } from './exhibits.ts';

/** Runs until a bug must be found, whatever the seed: some seconds. */
const MOST_RUNS = 3000;
/** A schedule that is found need not be as short as it can be. */
const SHRINK_RUNS = 100;
/** Also of a bug that shows in the first run. */
const FEWEST_RUNS = 10;
const SEEDS = [1, 2, 3, 4, 5];
const MINUTES = 60_000;

export function testExhibits(arch: ArchitectureName): void {
  const exhibits = EXHIBITS.filter(({ architectures }) => architectures.includes(arch));
  describe.each(exhibits)(`examples/bugs/$file on ${arch}`, (exhibit) => {
    // The others have been tried where it is at home.
    const seeds = exhibit.architectures[0] === arch ? SEEDS : SEEDS.slice(0, 2);
    let most = 0;

    it(
      'shows its bug from any seed, and the schedule that is printed shows it again',
      async () => {
        const scenario = await exhibitNamed(exhibit.file);
        for (const seed of seeds) {
          const result = explore(scenario, arch, { seed, runs: MOST_RUNS, shrinkRuns: SHRINK_RUNS });
          expect({ seed, ended: result.ended }).toEqual({ seed, ended: 'finding' });
          const [finding] = result.findings;
          if (finding === undefined) throw new Error('ended by a finding, and has none');
          expectFinding(exhibit, findingName(finding), finding.text);
          const again = replay(scenario, arch, finding.schedule);
          expect(again && { name: again.name, text: again.text }).toEqual({
            name: finding.name,
            text: finding.text,
          });
          most = Math.max(most, result.runs);
        }
      },
      5 * MINUTES,
    );

    it(
      'shows nothing without it in ten times as many runs',
      async () => {
        const scenario = await exhibitNamed(exhibit.file);
        const runs = 10 * Math.max(most, FEWEST_RUNS);
        const { ended, findings } = explore(scenario, arch, { seed: 6, runs, kernelBugs: [] });
        expect({ ended, findings: findings.map(findingName) }).toEqual({
          ended: expect.stringMatching(/^(runs|exhausted)$/),
          findings: [],
        });
      },
      5 * MINUTES,
    );
  });
}

function expectFinding({ finding, text }: Exhibit, name: string, found: string): void {
  expect(finding).toContain(name);
  expect(found).toMatch(text);
}
